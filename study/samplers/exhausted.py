"""The end of a search that has an end."""

from ssl_core.errors import StudyError


class SpaceExhaustedError(StudyError):
    """Every configuration of the grid was tried; the text says so. The study ends well with it as its reason."""
