"""Run the cells of a chapter as a notebook does, in names that they share: in a page's worker, and in tests."""

import ast
import base64
import io
import linecache
import sys
from collections.abc import Callable
from types import ModuleType

import matplotlib.pyplot as plt
import printing

Show = Callable[[str, str], object]  # is told a kind, "text", "html" or "figure" (PNG in base64), and what is shown


class HTML:
    """Text that is shown as HTML."""

    def __init__(self, text: str) -> None:
        self.text = text

    def _repr_html_(self) -> str:
        return self.text


class Page:
    """A page whose cells run: the names that they share. What they show is handed to `show` as it comes."""

    def __init__(self, show: Show) -> None:
        self.show, self.count = show, 0
        self.names: dict[str, object] = {"__name__": "__main__"}
        plt.switch_backend("agg")  # Pyodide's own draws into a page, and a worker has none
        plt.rcdefaults()
        plt.show = lambda: self._draw()
        wanted = sys.modules["IPython.display"] = ModuleType("IPython.display")  # chapters need no more of IPython
        vars(wanted).update(HTML=HTML, display=self.display)

    def run(self, code: str) -> bool:
        """Run the code of a cell, and return whether it came to its end."""
        self.count += 1
        name = f"<cell {self.count}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # for who asks for sources

        def run() -> None:
            tree = ast.parse(code, name)
            last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec"), self.names)
            if last:
                self.display(eval(compile(last, name, "eval"), self.names))
            self._draw()

        ended = printing.ran(run, name, printing.Printed(lambda text: self.show("text", text)))
        plt.close("all")
        return ended

    def display(self, *values: object) -> None:
        """Show values: as HTML if they know how, otherwise as `repr` has them. `None` is nothing to show."""
        for value in values:
            if hasattr(value, "_repr_html_"):
                self.show("html", value._repr_html_())
            elif value is not None:
                print(repr(value))

    def _draw(self) -> None:
        for number in plt.get_fignums():
            figure, file = plt.figure(number), io.BytesIO()
            figure.savefig(file, format="png", bbox_inches="tight")
            self.show("figure", base64.b64encode(file.getvalue()).decode())
            plt.close(figure)
