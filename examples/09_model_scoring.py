"""Model scoring in batches: a function of a list of values, as suits scikit-learn.

The model is trained on Fisher's iris measurements of 1936, and labels the flowers of a topic. A batch waits up to
200 ms for more values. A flower that the model cannot score, because a measurement is missing, is found by halving its
batch, and is skipped; all other flowers of the batch are labelled.
"""

from typing import Any

import msgspec
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import tidemill as tm

iris: Any = load_iris()
model = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)


class Flower(msgspec.Struct):
    sepal: tuple[float, float]
    petal: tuple[float | None, float | None]


def species(flowers: list[Flower]) -> list[str]:
    measured = [(*flower.sepal, *flower.petal) for flower in flowers]
    return [str(iris.target_names[label]) for label in model.predict(measured)]


app = tm.App("irises", on_error=tm.skip)

flowers = app.stream("flowers", key=tm.utf8, value=tm.json(Flower))
labels = flowers.map_batch(species, max_size=256, max_wait="200ms", value=tm.utf8).named("labels")
labels.to("labelled")
labels.group_by(lambda label: label).count().named("by-species").to("counts", value=tm.json)

if __name__ == "__main__":
    app.main()
