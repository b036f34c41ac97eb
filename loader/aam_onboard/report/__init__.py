"""`aam report`: one HTML file of what was sent, kept back and picked up, made from the warehouse.

`figures` asks the models, `charts` draws, `headline` says what needs somebody, `page` puts it together.
"""

from aam_onboard.report.make import make_report

__all__ = ["make_report"]
