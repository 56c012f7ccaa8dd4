"""The bibliography is labelled as the text cites: by authors and year."""

from collections.abc import Iterable, Iterator

from pybtex.backends.plaintext import Backend
from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx


class AuthorsAndYear(BaseLabelStyle):
    """Labels such as "Bradley and Terry 1952" and "Christiano et al. 2017"."""

    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterator[str]:
        """Yield the label of each entry."""
        for entry in sorted_entries:
            people = entry.persons["author"]
            names = [" ".join(map(str, person.rich_prelast_names + person.rich_last_names)) for person in people]
            told = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
            yield f"{told} {entry.fields['year']}"


class Style(Plain):
    """Entries as in the style "plain", with these labels."""

    default_label_style = AuthorsAndYear


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the style known as `authors_and_year`."""
    register_plugin("pybtex.style.formatting", "authors_and_year", Style)
    register_plugin("pybtex.backends", "plaintext", Backend, force=True)  # else it is looked for at each citation
    return {"parallel_read_safe": True, "parallel_write_safe": True}
