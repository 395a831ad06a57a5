"""The transforms whose constructor the contract tests cannot guess, as they are run over."""

from stn_core import transforms as t

TRANSFORM_EXAMPLES = {
    t.ConstrainedAffine: [
        t.ConstrainedAffine(((None, 0.0, None), (0.0, 1.0, None))),
        t.ConstrainedAffine(((0.5, None, 0.0), (None, 0.5, 0.25))),
        t.ConstrainedAffine(((None, 0.0, 0.0, None), (0.0, None, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))),
    ],
    t.Scaling: [t.Scaling(), t.Scaling(isotropic=True), t.Scaling(3)],
}
