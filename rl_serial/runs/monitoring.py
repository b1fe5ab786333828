"""What a run writes while it goes: ``metrics.csv``, TensorBoard events, the progress bar."""

from __future__ import annotations

import csv
import io
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from rl_serial.errors import UserError
from rl_serial.metrics import IndexValue, Measurement, Metric, tagged
from rl_serial.runs.files import read_text, write_text


@contextmanager
def _silent_writers() -> Iterator[None]:
    """Keep TensorBoard's writing thread from printing what it raises in ours as well."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.thread, _AsyncWriterThread):
            before(failure)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


class MetricsFile:
    """``metrics.csv``: a row per evaluation, each forced to disk as it is written.

    Rows that a killed run wrote after its last checkpoint stay; the resumed run, which makes the
    same ones again, does not repeat them. Columns ``late`` are empty until they are measured.
    """

    def __init__(self, file: Path, late: Sequence[str] = ()) -> None:
        self.file, self.late = file, late
        self.rows: list[dict[str, str]] = []
        if file.exists():
            complete = read_text(file).rpartition("\n")[0]  # a half-written line is made again
            try:
                self.rows = list(csv.DictReader(io.StringIO(complete)))
                is_table = all(
                    None not in row and None not in row.values() and row["step"].isdecimal()
                    for row in self.rows
                )
            except (csv.Error, KeyError):
                is_table = False
            if not is_table:
                raise UserError(
                    "damaged; once it is deleted, the run begins a new one where it is", source=file
                )
            write_text(file, complete + "\n" if complete else "")

    def append(self, step: int, metrics: dict[str, float]) -> None:
        """Add the row of ``step``, if it is not there."""
        if self.rows and int(self.rows[-1]["step"]) >= step:
            return
        row = (
            {"step": str(step)}
            | dict.fromkeys(self.late, "")
            | {tag: repr(value) for tag, value in metrics.items()}
        )
        buffer = io.StringIO()
        header = list(self.rows[0]) if self.rows else list(row)
        writer = csv.DictWriter(buffer, header, extrasaction="ignore", lineterminator="\n")
        if not self.rows:
            writer.writeheader()
        writer.writerow(row)
        with self.file.open("a") as stream:
            stream.write(buffer.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        self.rows.append(row)

    def history(self, tags: Sequence[str]) -> tuple[list[int], NDArray[np.float64]]:
        """The steps of all evaluations, and what was measured at them: [tags, steps]."""
        table = [[float(row[tag]) for row in self.rows] for tag in tags]
        return [int(row["step"]) for row in self.rows], np.array(table)


def heat_map(
    metric: Metric, levels: Sequence[IndexValue], steps: Sequence[int], values: NDArray[np.float64]
) -> Figure:
    """A metric over its index and training time: values [levels, steps]."""
    # Every evaluation draws one, so the places are given: a layout engine takes twice the time.
    figure = Figure(figsize=(6, 4))
    axes = figure.add_axes((0.11, 0.13, 0.71, 0.83))
    image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto", origin="lower")
    rows, columns = _spread(len(levels), 16), _spread(len(steps), 5)
    axes.set_yticks(rows, [str(levels[i]) for i in rows])
    axes.set_xticks(columns, [str(steps[i]) for i in columns])
    axes.set_xlabel("training step")
    axes.set_ylabel(metric.names[0])
    figure.colorbar(image, figure.add_axes((0.85, 0.13, 0.04, 0.83)), label=metric.described({}))
    return figure


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of ``count`` places, evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


class Monitor:
    """Writes a run's metrics to TensorBoard, to ``metrics.csv`` and beside the progress bar.

    Args:
        folder: the run's.
        charts: the page of TensorBoard's custom-scalars tab.
        resumed_at: the step of the checkpoint that the run goes on from; TensorBoard drops what
            was logged behind it.
        late: tags that only the last evaluation has.
    """

    def __init__(
        self,
        folder: Path,
        charts: dict[str, Any],
        resumed_at: int | None = None,
        late: Sequence[str] = (),
    ) -> None:
        # A start that was killed before its first checkpoint has left events too.
        purge = 0 if resumed_at is None else resumed_at + 1
        self.writer = SummaryWriter(str(folder), purge_step=purge)
        self.resumed_at = resumed_at
        self.last: dict[str, int] = {}  # the step at which a tag was last logged
        self.metrics = MetricsFile(folder / "metrics.csv", late)
        self.progress: tqdm[Any] | None = None
        self.above_the_bar = ExitStack()
        self.above_the_bar.enter_context(_silent_writers())
        if resumed_at is None:
            self.writer.add_custom_scalars(charts)

    def start_progress(self, name: str, total: int, step: int) -> None:
        """Show a bar with the score and the time left."""
        # What is said while the bar is there gets a line of its own.
        self.above_the_bar.enter_context(logging_redirect_tqdm([logging.getLogger("rl_serial")]))
        self.progress = tqdm(total=total, initial=step, desc=name, unit="step", mininterval=0.5)

    def advance_progress(self, step: int) -> None:
        """Move the bar to ``step``; training in whole episodes may end behind its total."""
        if self.progress is not None:
            self.progress.total = max(self.progress.total or 0, step)
            self.progress.update(step - self.progress.n)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Log a number under a TensorBoard tag, once for each step; what was not measured (NaN) is
        left out."""
        if not np.isnan(value) and self.last.get(tag) != step:
            self.writer.add_scalar(tag, value, step)
            self.last[tag] = step

    def text(self, tag: str, text: str, step: int, language: str = "") -> None:
        """Log a text that TensorBoard shows as it stands."""
        self.writer.add_text(tag, f"```{language}\n{text.rstrip()}\n```", step)

    def evaluation(
        self, step: int, measurements: Sequence[Measurement], training: dict[str, float]
    ) -> None:
        """Log an evaluation everywhere, but for that of the checkpoint that the run goes on from:
        it was logged before the checkpoint was written.

        Args:
            step: of training.
            measurements: of the evaluation.
            training: what the trainer last logged, by its tags.
        """
        metrics = tagged(measurements) | training
        self.metrics.append(step, metrics)
        if step != self.resumed_at:
            for tag, value in metrics.items():
                self.scalar(tag, value, step)
            self._heat_maps(step, measurements)
        self.writer.flush()
        if self.progress is not None:
            shown = {m.metric.progress: f"{m.value:.4g}" for m in measurements if m.metric.progress}
            self.progress.set_postfix(shown, refresh=False)

    def _heat_maps(self, step: int, measurements: Sequence[Measurement]) -> None:
        drawn: dict[Metric, list[Measurement]] = {}
        for found in measurements:
            if found.metric.heat_map and not np.isnan(found.value):
                drawn.setdefault(found.metric, []).append(found)
        for metric, row in drawn.items():
            levels = [found.index[metric.names[0]] for found in row]
            steps, values = self.metrics.history([found.tag for found in row])
            figure = heat_map(metric, levels, steps, values)
            self.writer.add_figure(metric.over({}, metric.names), figure, step)

    def animation(self, tag: str, gif: bytes, size: tuple[int, int], step: int) -> None:
        """Log an animated GIF of ``size`` (width, height) as an image."""
        image = Summary.Image(encoded_image_string=gif, width=size[0], height=size[1], colorspace=3)
        summary = Summary(value=[Summary.Value(tag=tag, image=image)])
        self.writer._get_file_writer().add_summary(summary, step)  # type: ignore[no-untyped-call]

    def finish(self, hyperparameters: dict[str, Any], metrics: dict[str, float]) -> None:
        """Log the hyperparameters, and which metrics TensorBoard shows beside them.

        Its page of hyperparameters takes the last value of each scalar that is named, so what the
        last evaluation has logged is there without a second, one-point chart.

        They go into the run's own file. ``SummaryWriter.add_hparams`` writes a second one, and of
        two files of the same second TensorBoard may read that one first, and then drop it.

        Args:
            hyperparameters: numbers, texts and truth values by dotted keys.
            metrics: by tags that have been logged as scalars; what was not measured is NaN.
        """
        measured = {tag: value for tag, value in metrics.items() if not np.isnan(value)}
        writer = self.writer._get_file_writer()  # type: ignore[no-untyped-call]
        for summary in hparams(hyperparameters, measured):  # type: ignore[no-untyped-call]
            writer.add_summary(summary)
        self.close()

    def close(self) -> None:
        """Close files and bar."""
        try:
            self.writer.close()
        finally:
            self.above_the_bar.close()
            if self.progress is not None:
                self.progress.close()
