"""The options about what is recorded."""

from settings.option import Option

OPTIONS = (
    Option(
        "cookie_auth_redact",
        bool,
        False,
        "Show and save flows without their tokens, which browser and API get all the same.",
    ),
    Option(
        "cookie_auth_keep_frontend",
        bool,
        False,
        "Record the requests for the front end, too: with short_way.py, most of them pass by"
        " mitmproxy's hooks, and are faster.",
    ),
)
