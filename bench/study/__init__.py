"""YAML → validated, expanded, identified: `load_study(file)` gives a `Study`."""

from .load import load_study as load_study
from .schema import StudyFile as StudyFile
from .study import Study as Study, Trial as Trial, Variant as Variant
