"""The warps that `sampler_cpu.py` and `sampler_gpu.py` measure, of which the first needs a lot."""

from bench.tasks.workloads.thetas import Kind

# (batch, channels, height, width), the output's side, the kind of theta.
SHAPES: dict[str, tuple[tuple[int, int, int, int], int, Kind]] = {
    "mnist": ((256, 1, 28, 28), 28, "rts"),
    "attn": ((128, 1, 60, 60), 20, "crop"),
    "feat32": ((64, 64, 32, 32), 32, "rts"),
    "img224": ((32, 3, 224, 224), 224, "rts"),
    "inc14": ((32, 192, 28, 28), 14, "half"),
    "cub448": ((8, 3, 448, 448), 224, "half"),
}
# Beside those: few points of large images, hardly any, and pictures as files have them.
OTHERS: dict[str, tuple[tuple[int, int, int, int], int, Kind]] = {
    "glimpse": ((1, 64, 224, 224), 48, "crop"),
    "overview": ((2, 3, 1024, 1024), 400, "rts"),
    "thumbnail": ((4, 3, 1024, 1024), 128, "rts"),
    "points": ((4, 3, 1024, 1024), 8, "rts"),
    "point": ((64, 3, 32, 32), 1, "rts"),
    "pictures": ((16, 3, 128, 128), 128, "rts"),
}
