"""The transforms whose constructor the contract tests cannot guess, as they are run over."""

from stn_core import transforms as t

TRANSFORM_EXAMPLES = {
    t.Compose: [t.Compose(t.Affine(), t.ThinPlateSpline((2, 3)))],
    t.ConstrainedAffine: [
        t.ConstrainedAffine(((None, 0.0, None), (0.0, 1.0, None))),
        t.ConstrainedAffine(((0.5, None, 0.0), (None, 0.5, 0.25))),
        t.ConstrainedAffine(((None, 0.0, 0.0, None), (0.0, None, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))),
    ],
    t.DiffeomorphicFlow: [
        t.DiffeomorphicFlow(3, steps=1),
        t.DiffeomorphicFlow(size=(2, 4), steps=3),
    ],
    t.Flow: [t.Flow(), t.Flow(3, size=(2, 1, 3))],
    t.Inverse: [t.Inverse(t.Rigid(3)), t.Inverse(t.Shear())],
    t.PiecewiseAffine: [
        t.PiecewiseAffine((2, 3), steps=1),
        t.PiecewiseAffine((2, 1), zero_boundary=False, steps=1),
    ],
    t.Scaling: [t.Scaling(), t.Scaling(isotropic=True), t.Scaling(3)],
    t.ThinPlateSpline: [
        t.ThinPlateSpline((3, 2, 2)),
        t.ThinPlateSpline((2, 5), ridge=0.1),
        t.ThinPlateSpline(),
    ],
}
