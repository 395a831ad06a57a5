"""What disturbs a measurement: the machine's own counters, read before and after each block."""

import importlib.util
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

JIFFIES = os.sysconf("SC_CLK_TCK")

# A quarter of a core taken by others while we measure.
FOREIGN_CPUS = 0.25

# NVML's reasons for a lower clock that are no choice of the user's.
SLOWDOWNS = {
    0x4: "gpu_power_cap",
    0x8: "gpu_hardware_slowdown",
    0x20: "gpu_thermal_slowdown",
    0x40: "gpu_thermal_slowdown",
    0x80: "gpu_power_brake",
}

Counters = Mapping[str, float]


def counters() -> Counters:
    """Counters that only grow: what this process was denied, and what others took."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    found: dict[str, float] = {
        "switches": used.ru_nivcsw,
        "own": used.ru_utime + used.ru_stime,
        "throttled": _throttled(),
    }
    try:
        with open("/proc/stat") as file:
            ticks = [int(word) / JIFFIES for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return found
    user, nice, system, _, _, irq, softirq, steal = ticks
    return {**found, "busy": user + nice + system + irq + softirq, "steal": steal}


def disturbed(before: Counters, after: Counters) -> tuple[str, ...]:
    """What befell a block between two readings of the counters.

    `preempted`: the kernel took the CPU away for another process. `cpu_steal`: the hypervisor did.
    `cpu_quota`: the cgroup's quota was used up.
    """
    names = {"switches": "preempted", "steal": "cpu_steal", "throttled": "cpu_quota"}
    return tuple(
        name for key, name in names.items() if key in after and after[key] > before.get(key, 0)
    )


def crowded(before: Counters, after: Counters, seconds: float) -> tuple[str, ...]:
    """`foreign_cpu` where other processes had more than `FOREIGN_CPUS` CPUs meanwhile.

    The kernel counts in hundredths of a second, so this needs some tenths between the readings.
    """
    if "busy" not in after or "busy" not in before or seconds <= 0:
        return ()
    others = (after["busy"] - before["busy"]) - (after["own"] - before["own"])
    return ("foreign_cpu",) if others / seconds > FOREIGN_CPUS else ()


def last_level_cache() -> int:
    """Bytes of the largest CPU cache; 32 MiB where the kernel does not say."""
    sizes: list[int] = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        if text[:-1].isdigit() and text[-1] in "KMG":
            sizes.append(int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]])
    return max(sizes, default=32 << 20)


def pin(threads: int) -> int:
    """Keep this process and the threads it starts on `threads` CPUs, the last that it may use.

    One CPU a core as far as there are cores; the first CPUs are left to interrupts and to others.
    Gives how many CPUs it may use then, which is more where the system does not allow pinning.
    """
    allowed = sorted(os.sched_getaffinity(0), reverse=True)
    cores = {_core(cpu): cpu for cpu in reversed(allowed)}
    first = sorted(cores.values(), reverse=True)
    chosen = [*first, *(cpu for cpu in allowed if cpu not in first)][:threads]
    try:
        os.sched_setaffinity(0, chosen)
    except OSError:
        pass
    return len(os.sched_getaffinity(0))


def reset_peak_memory() -> None:
    """Let the high-water mark of this process's memory begin anew, where the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_memory() -> int | None:
    """High-water mark of the resident memory of this process in bytes since it was reset."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return None


class Gpu:
    """What NVML says of a GPU; without `nvidia-ml-py`, or a driver, it says nothing.

    Args:
        uuid: Of the GPU, as torch gives it.
    """

    def __init__(self, uuid: str) -> None:
        self._nvml: Any = None
        if importlib.util.find_spec("pynvml") is None:
            return
        import pynvml  # pyright: ignore[reportMissingImports]

        try:
            pynvml.nvmlInit()
            name = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        except pynvml.NVMLError:
            return
        self._nvml = pynvml

    def flags(self) -> tuple[str, ...]:
        """Reasons for which its clock is lowered now."""
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons") or 0
        return tuple(sorted({name for bit, name in SLOWDOWNS.items() if bits & bit}))

    def crowded(self) -> tuple[str, ...]:
        """`foreign_gpu` where another process computes on it."""
        running = self._ask("nvmlDeviceGetComputeRunningProcesses") or []
        return ("foreign_gpu",) if {p.pid for p in running} - {os.getpid()} else ()

    def energy(self) -> float | None:
        """Joules that it has used since the driver was loaded."""
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def _ask(self, question: str) -> Any:
        if self._nvml is None:
            return None
        try:
            return getattr(self._nvml, question)(self._handle)
        except (AttributeError, self._nvml.NVMLError):
            return None


def _throttled() -> float:
    """How often the cgroup's quota has stopped it."""
    try:
        with open("/sys/fs/cgroup/cpu.stat") as file:
            return next(float(x.split()[1]) for x in file if x.startswith("nr_throttled"))
    except (OSError, StopIteration):
        return 0


def _core(cpu: int) -> str:
    place = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
    try:
        names = ("physical_package_id", "core_id")
        return "/".join((place / name).read_text().strip() for name in names)
    except OSError:
        return str(cpu)
