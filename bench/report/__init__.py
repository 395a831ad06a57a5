"""Tables, charts and words of a study: a pure function of the study and the rows of a store."""

from .write import Report as Report, write_report as write_report
