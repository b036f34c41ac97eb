"""What a user configures, as typed settings; every mistake in it is one clear line that names the file and the setting.

vars.py: the vars · project.py: dbt_project.yml · profile.py: profiles.yml. What a destination may say stands with the
destinations, and Audience Manager's rules in rules.py.
"""

from aam_onboard.config.profile import (
    PROFILES_FILE,
    DuckDBSettings,
    PostgresSettings,
    Retries,
    SparkSettings,
    WarehouseSettings,
    load_warehouse,
)
from aam_onboard.config.project import Project, find_project, load_project, package_rules
from aam_onboard.config.vars import (
    ApiSettings,
    DataSource,
    Feed,
    Guards,
    IdSync,
    JsonKeys,
    Outbound,
    Vars,
    merge_vars,
)
from aam_onboard.package import PROJECT_FILE

__all__ = [
    "PROFILES_FILE",
    "PROJECT_FILE",
    "ApiSettings",
    "DataSource",
    "DuckDBSettings",
    "Feed",
    "Guards",
    "IdSync",
    "JsonKeys",
    "Outbound",
    "PostgresSettings",
    "Project",
    "Retries",
    "SparkSettings",
    "Vars",
    "WarehouseSettings",
    "find_project",
    "load_project",
    "load_warehouse",
    "merge_vars",
    "package_rules",
]
