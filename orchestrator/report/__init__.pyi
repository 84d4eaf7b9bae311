from .page import write_report, write_report_to
from .page_script import packed_ahead

__all__ = ["packed_ahead", "write_report", "write_report_to"]
