"""Pages of one file that need no network: the report of a study."""

from .document import html as html
from .report import report_page as report_page
