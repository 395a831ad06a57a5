"""Pages of one file that need no network: the report of a study, or whatever makes a `Page`."""

from .document import Grid as Grid, Page as Page, Section as Section, html as html
from .report import report_page as report_page
