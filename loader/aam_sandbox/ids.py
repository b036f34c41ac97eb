"""What IDs look like, as [ids-in-aam, global-data-sources] say; read there, not taken from what makes our files."""

_LOWER_CASE_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UPPER_CASE_UUID = "[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}"
_LETTERS_AND_DIGITS = "[0-9A-Za-z]+"

AAM_UUID = "[0-9]{38}"
# the global data sources: DPID → the ID's pattern
DEVICES = {
    0: AAM_UUID,
    20914: _LOWER_CASE_UUID,  # gaid
    20915: _UPPER_CASE_UUID,  # idfa
    121963: _LOWER_CASE_UUID,  # rida
    389146: _LETTERS_AND_DIGITS,  # maid
    963906: _LETTERS_AND_DIGITS,  # tifa
    488258: _LOWER_CASE_UUID,  # fire_tv
    1171485: _LOWER_CASE_UUID,  # lgudid
    1171489: _LETTERS_AND_DIGITS,  # vizio_ifa
}
HASHED_EMAIL = "[0-9a-f]{64}"
# The first column of a partner's file [custom-partner-integrations]
PARTNER_TYPES = {"idfa": 20915, "android": 20914, "android_id": 20914, "gaid": 20914, "google_ad_id": 20914}


def fault_of(user_id: str, dpid: int) -> str:
    """SQL: the receipt's counter for an ID that its data source can't have, else null.

    `dpid`: one of DEVICES; any other is a customer's, whose IDs hold no colon [inbound-file-contents].
    """
    if dpid not in DEVICES:
        return f"case when {user_id} = '' or regexp_matches({user_id}, ':|%3[Aa]') then 'format_errors' end"
    counter = "invalid_aam_id" if dpid == 0 else "invalid_device_id"
    # all zeros: a device with limited ad tracking has no ID
    return (
        f"case when {user_id} = '' then 'format_errors'"
        f" when not regexp_full_match({user_id}, '{DEVICES[dpid]}') or regexp_full_match({user_id}, '[0-]+')"
        f" then '{counter}' end"
    )
