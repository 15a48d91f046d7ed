"""The option that names a profile."""

from settings.option import Option

OPTIONS = (
    Option(
        "cookie_auth_profile",
        str,
        "",
        "A YAML file with options of cookie-auth, their names without cookie_auth_ (a value with a"
        " slash, or that ends in .yaml), or the name of a recipe in addon/recipes. What is set"
        " otherwise goes first.",
    ),
)
