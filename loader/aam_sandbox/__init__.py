"""A local Audience Manager: it reads inbound files as Audience Manager documents it, and says what has become of them.

It imports the grammar and rules of `aam_onboard`, never its state or delivery: what reads our files must not share
our misreadings.
"""
