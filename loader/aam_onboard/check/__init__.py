"""Anyone's inbound and ID sync files, against Audience Manager's rules.

Lines are examined by the block, in Arrow and DuckDB, never one by one. Most lines are of the plain form that this
project writes itself: a few regular expressions made from `vars.rules` accept those. They accept nothing that a rule
refuses, but may leave a good line over; what they leave goes through SQL that splits it and tries rule after rule.
Memory doesn't depend on the size of the file, nor on that of its lines.

files.py: a file as a whole · report.py: what is said of it · container.py: gzip, PGP, the text within · forms.py and
plain.py: what its lines may look like · lines.py: the lines · crowds.py, spellings.py: what is counted over all lines.
"""

from aam_onboard.check.files import check_file, check_files, check_text, find_files
from aam_onboard.check.report import (
    COUNTED_REASONS,
    FILE_REASONS,
    LINE_REASONS,
    WARNING_REASONS,
    CheckReport,
    FileReport,
    Problem,
    require_ok,
)

__all__ = [
    "COUNTED_REASONS",
    "FILE_REASONS",
    "LINE_REASONS",
    "WARNING_REASONS",
    "CheckReport",
    "FileReport",
    "Problem",
    "check_file",
    "check_files",
    "check_text",
    "find_files",
    "require_ok",
]
