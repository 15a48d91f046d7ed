"""The option about what is recorded."""

from settings.option import Option

OPTIONS = (
    Option(
        "cookie_auth_redact",
        bool,
        False,
        "Show and save flows without their tokens, which browser and API get all the same.",
    ),
)
