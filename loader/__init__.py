"""The loader of aam-onboard: it delivers what dbt prepared as Audience Manager's inbound files."""
