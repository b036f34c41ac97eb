"""The REST API, as far as pages show it: the sandbox's rows in Audience Manager's words, and changes to them.

[aam-api-getting-started, aam-api-retrieve-destinations]. routes.py knows HTTP; what is behind an address stands in a
module of its own, and its errors carry the status with which they are answered.
"""
