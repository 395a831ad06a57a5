"""Make the pictures of docs/choosing.md: `python docs/pictures.py`.

Everything in them comes from stn_core and one analytic image. Needs Pillow, which torchvision has.
"""

import math
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stn_core import canonical_grid, diagnostics, samplers as s, transforms as t, warp
from stn_core.grid import to_pixels

GAP = 10
SIDE = 112
OUTSIDE = (0.82, 0.82, 0.82)
OUTLINE = "#e8590c"
# Paper, its lines, the letter, the rings.
COLOURS = ((1.0, 1.0, 1.0), (0.62, 0.76, 0.9), (0.12, 0.2, 0.42), (0.78, 0.1, 0.2))
# How far the panels of inputs see, in normalised units, and what is drawn larger and then reduced.
VIEW = 1.46
OVERSIZE = 4

Panel = tuple[str, str, Image.Image]


def paint(points: Tensor) -> Tensor:
    """The test image at points (x, y): a letter F on ruled paper, and rings beside its foot."""
    x, y = points.unbind(-1)
    colours = torch.tensor(
        [[1.0, 1.0, 1.0], [0.62, 0.76, 0.9], [0.12, 0.2, 0.42], [0.78, 0.1, 0.2]]
    )
    is_line = ((points * 4 + 0.5).remainder(1) - 0.5).abs().amin(-1) < 0.05
    stem = (x > -0.6) & (x < -0.32) & (y.abs() < 0.7)
    top = (x > -0.6) & (x < 0.5) & (y > -0.7) & (y < -0.45)
    bar = (x > -0.6) & (x < 0.2) & (y > -0.15) & (y < 0.08)
    radius = torch.hypot(x - 0.42, y - 0.48)
    is_ring = (radius < 0.38) & ((radius / 0.072).remainder(1) < 0.5)
    kind = torch.where(is_ring, 3, torch.where(stem | top | bar, 2, is_line.long()))
    return colours[kind].movedim(-1, 0)


def render(size: int, *, samples: int = 8) -> Tensor:
    """The test image at a size, each pixel the mean over its area."""
    fine = paint(canonical_grid((size * samples, size * samples), align_corners=False))
    return avg_pool2d(fine.unsqueeze(0), samples)


def volume(size: int = 96) -> Tensor:
    """The test image leaning to the right with depth."""
    points = canonical_grid((size, size, size), align_corners=False)
    lean = torch.tensor([0.5, 0.0])
    return paint(points[..., :2] - points[..., 2:] * lean).unsqueeze(0)


def lines_kept() -> list[tuple[str, t.Transform, list[float]]]:
    """The transforms that keep lines straight, each with a theta that tells."""
    return [
        ("tx, ty = 0.4, 0.2", t.Translation(), [0.4, 0.2]),
        ("angle = 0.5", t.Rotation(), [0.5]),
        ("sx, sy = 0.5, 1.2", t.Scaling(), [0.5, 1.2]),
        ("s, tx, ty = 0.5, -0.2, -0.3", t.Attention(), [0.5, -0.2, -0.3]),
        ("angle, tx, ty = 0.4, 0.1, -0.1", t.Rigid(), [0.4, 0.1, -0.1]),
        ("s, angle = 0.7, -0.5, no shift", t.Similarity(), [0.7, -0.5, 0.0, 0.0]),
        ("t12, t21 = 0.4, 0.0", t.Shear(), [0.4, 0.0]),
        ("rows 0.8, 0.4, 0 and -0.3, 0.7, 0.1", t.Affine(), [0.8, 0.4, 0.0, -0.3, 0.7, 0.1]),
        (
            "rows free, 0, free and 0, 1, free",
            t.ConstrainedAffine(((None, 0.0, None), (0.0, 1.0, None))),
            [0.5, -0.3, 0.2],
        ),
        (
            "exp of rows -0.4, -0.6, 0 and 0.6, -0.4, 0",
            t.ExponentialAffine(),
            [-0.4, -0.6, 0.0, 0.6, -0.4, 0.0],
        ),
        ("last row 0.25, 0.05, 1", t.Projective(), [1.0, 0, 0, 0, 1, 0, 0.25, 0.05]),
        ("a volume at z = 0.8 y", t.Slice(), [1.0, 0, 0, 0, 1, 0, 0, 0.8, 0]),
    ]


def lines_bent() -> list[tuple[str, t.Transform, list[float]]]:
    """The transforms that bend lines, each with a theta that tells."""
    spline = t.ThinPlateSpline((4, 4))
    bends = (spline.identity + 0.14 * torch.sin(2.3 * torch.arange(32))).tolist()
    cells = (0.3 * torch.sin(1.7 * torch.arange(26))).tolist()
    points = canonical_grid((16, 16), align_corners=False) - torch.tensor([-0.25, -0.3])
    inwards = -2 * points * torch.exp(-points.square().sum(-1, keepdim=True) / 0.2)
    field = inwards.movedim(-1, 0).flatten().tolist()
    affine_and_spline = t.Compose(t.Similarity(), spline)
    return [
        ("4 x 4 control points", spline, bends),
        ("3 x 3 cells, edge fixed", t.PiecewiseAffine((3, 3)), cells),
        ("inwards, so far that it folds", t.Flow(size=(16, 16)), field),
        ("the same theta does not fold", t.DiffeomorphicFlow(size=(16, 16)), field),
        ("origin 0, 0", t.Polar(), [0.0, 0.0]),
        ("origin 0, 0", t.LogPolar(inner_radius=0.1), [0.0, 0.0]),
        ("Similarity, then the spline", affine_and_spline, [0.7, -0.5, 0.0, 0.0, *bends]),
        ("of the spline, same theta", t.Inverse(spline), bends),
    ]


def show_transform(image: Tensor, transform: t.Transform, theta: list[float]) -> Image.Image:
    """Where the output is read in the image, and the output."""
    row = torch.tensor([theta])
    if transform.dims == 3:
        output = warp(volume(), row, transform, output_size=(1, SIDE, SIDE), padding=OUTSIDE)[
            :, :, 0
        ]
    else:
        sampler = s.Antialiased()
        output = warp(
            image, row, transform, sampler=sampler, output_size=(SIDE, SIDE), padding=OUTSIDE
        )
    sheet = Image.new("RGB", (2 * SIDE + 4, SIDE), "white")
    sheet.paste(show_grid(image, transform, row), (0, 0))
    sheet.paste(to_picture(output), (SIDE + 4, 0))
    return sheet


def show_grid(image: Tensor, transform: t.Transform, theta: Tensor) -> Image.Image:
    """The image and its surroundings, with the source points of a grid on the output."""
    seen = warp(
        image,
        torch.tensor([[VIEW]]),
        t.Scaling(isotropic=True),
        sampler=s.Antialiased(),
        output_size=(SIDE, SIDE),
        padding=OUTSIDE,
    )
    large = SIDE * OVERSIZE
    picture = to_picture(0.45 * seen + 0.55).resize((large, large), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    along = torch.linspace(-1, 1, 129)
    for at in (-0.5, 0.0, 0.5):
        across = torch.full_like(along, at)
        for line in (torch.stack([along, across], -1), torch.stack([across, along], -1)):
            flat = line if transform.dims == 2 else torch.cat([line, 0 * line[:, :1]], -1)
            draw_line(pen, transform(theta, flat)[0, :, :2], large, OVERSIZE)
    if transform.dims == 2:
        edge = diagnostics.outline(transform, theta, points_per_edge=128).flatten(1, 2)[0]
    else:
        edge = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    draw_line(pen, torch.cat([edge, edge[:1]]), large, 2 * OVERSIZE)
    return picture.reduce(OVERSIZE)


def draw_line(pen: ImageDraw.ImageDraw, points: Tensor, size: int, width: int) -> None:
    """Draw a line through source points, in a square picture that sees VIEW."""
    pixels = to_pixels(points / VIEW, (size, size), align_corners=False).round().tolist()
    pen.line([(int(x), int(y)) for x, y in pixels], fill=OUTLINE, width=width, joint="curve")


def to_picture(image: Tensor) -> Image.Image:
    """A batch of one image as a picture."""
    levels = (image[0].clamp(0, 1) * 255).round().byte().movedim(0, -1).contiguous()
    height, width = levels.shape[:2]
    return Image.frombytes("RGB", (width, height), bytes(levels.flatten().tolist()))


def enlarge(image: Tensor, factor: int) -> Image.Image:
    """A picture in which each pixel is a square."""
    picture = to_picture(image)
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def reading() -> list[tuple[str, str, s.Sampler]]:
    """The samplers, with what a label has to say."""
    lanczos = s.Kernel(lambda d: torch.sinc(d) * torch.sinc(d / 3), radius=3.0)
    return [
        ("Nearest", "", s.Nearest()),
        ("Bilinear", "", s.Bilinear()),
        ("Bicubic", "", s.Bicubic()),
        ("Kernel", "Lanczos, radius 3", lanczos),
        ("Gaussian", "sigma 1", s.Gaussian()),
        ("Gaussian", "sigma 2", s.Gaussian(2.0)),
        ("Antialiased", "", s.Antialiased()),
    ]


def shrinking() -> list[Panel]:
    """All samplers at a reduction of 4, with their error against a fine render."""
    image, truth = render(96), render(24, samples=32)
    panels = [("The image, 96 x 96", "", enlarge(image, 2))]
    for name, note, sampler in reading():
        output = warp(
            image,
            torch.ones(1, 1),
            t.Scaling(isotropic=True),
            sampler=sampler,
            output_size=(24, 24),
            padding="border",
        )
        error = (output - truth).square().mean().sqrt().item()
        panels.append((name, f"{note}{', ' if note else ''}error {error:.3f}", enlarge(output, 8)))
    return panels


def magnifying() -> list[Panel]:
    """All samplers at a magnification of 6, of the 16 x 16 pixels where letter and rings meet."""
    image = render(96)
    theta = torch.tensor([[1 / 6, 2 / 6, 1 / 6]])
    crop = warp(image, theta, t.Attention(), sampler=s.Nearest(), output_size=(16, 16))
    panels = [("16 x 16 of its pixels", "", enlarge(crop, 12))]
    for name, note, sampler in reading():
        output = warp(image, theta, t.Attention(), sampler=sampler, output_size=(96, 96))
        panels.append((name, note, enlarge(output, 2)))
    return panels


def paddings() -> list[Panel]:
    """What lies outside the image, for a scale of 2."""
    image, theta = render(96), torch.tensor([[2.0]])
    rules: list[s.Padding] = ["zeros", "border", "reflection", 0.6, (1.0, 0.8, 0.3)]
    panels: list[Panel] = []
    for rule in rules:
        output = warp(
            image,
            theta,
            t.Scaling(isotropic=True),
            sampler=s.Antialiased(),
            output_size=(150, 150),
            padding=rule,
        )
        panels.append((repr(rule).replace("'", '"'), "", to_picture(output)))
    return panels


def gather(panels: list[Panel], columns: int, colours: int) -> Image.Image:
    """Panels of one size in rows, each under its name and its note."""
    name_font, note_font = ImageFont.load_default(13), ImageFont.load_default(11)
    head = 36 if any(note for _, note, _ in panels) else 20
    width, height = panels[0][2].size
    rows = math.ceil(len(panels) / columns)
    size = (GAP + columns * (width + GAP), GAP + rows * (height + head + GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for i, (name, note, picture) in enumerate(panels):
        x, y = GAP + i % columns * (width + GAP), GAP + i // columns * (height + head + GAP)
        pen.text((x, y), name, fill="black", font=name_font)
        pen.text((x, y + 17), note, fill="#555555", font=note_font)
        sheet.paste(picture, (x, y + head))
        pen.rectangle((x - 1, y + head - 1, x + width, y + head + height), outline="#aaaaaa")
    return sheet.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def main(folder: Path) -> None:
    """Write all pictures into a folder."""
    image = render(192)
    straight, bent = (
        [(type(f).__name__, note, show_transform(image, f, theta)) for note, f, theta in family]
        for family in (lines_kept(), lines_bent())
    )
    sheets = {
        "straight": (straight, 4, 40),
        "bent": (bent, 4, 40),
        "shrinking": (shrinking(), 4, 128),
        "magnifying": (magnifying(), 4, 256),
        "paddings": (paddings(), 5, 64),
    }
    for name, (panels, columns, colours) in sheets.items():
        gather(panels, columns, colours).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(*sys.argv[1:]) if sys.argv[1:] else Path(__file__).parent / "pictures")
