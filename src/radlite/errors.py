"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """One sentence that says what is wrong, where, and what to do next; it never quotes a report.

    The command line prints it without a traceback and exits with 2. Anything else that is raised is a defect of ours
    and keeps its traceback.
    """


def shown(text: str) -> str:
    """The text with escapes for characters that a terminal obeys or cannot show, but for ends of lines and tabs."""
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape", "surrogatepass").decode()
        for one in text
    )
