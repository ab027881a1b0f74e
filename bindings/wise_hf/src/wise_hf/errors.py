"""What can go wrong; messages say what was got and what was expected."""


class WiseError(Exception):
    """Anything that this package refuses."""


class Malformed(WiseError):
    """The file is no patch, or a damaged one."""


class Unsupported(WiseError):
    """The patch or the model asks for something that only wise itself does."""


class WrongModel(WiseError):
    """The patch was made for another model."""
