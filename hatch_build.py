"""What `pip install` does besides copying: it compiles the C++ kernels, if a compiler is there."""

import importlib.util
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelHook(BuildHookInterface):
    """A wheel has kernels for each kind of processor; an editable install makes its own later."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        build = _load(Path(self.root) / "stn_core" / "kernels" / "build.py")
        self._folder = tempfile.TemporaryDirectory()
        kinds = build.processors_here()
        targets = [Path(self._folder.name) / build.file_name(kind) for kind in kinds]
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(build.build, kinds, targets))
        except build.BuildError as error:
            self.app.display_warning(
                f"stn_core is installed without its compiled kernels: {error} "
                "Warps then take several times as long; all else works."
            )
            return
        for target in targets:
            build_data["force_include"][str(target)] = f"stn_core/kernels/cpu/{target.name}"
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"


def _load(path: Path):
    # By its path, for importing stn_core needs torch, which is not there when it is built.
    spec = importlib.util.spec_from_file_location("kernel_build", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
