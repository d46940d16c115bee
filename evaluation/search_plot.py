"""The picture of a search: the validation score of each trial, and how much each flag matters."""

import numpy as np
import optuna
from optuna.trial import TrialState

from evaluation.report import figure_and_axes, save_figure

MARGIN = 4.0  # points below the best that are shown at least, if there are trials
LEAST = 4  # completed trials from which on the importance is computed


def draw(search, path):
    """Draws the trials of a `Search` against its time, and the importance of the flags beside them."""
    figure, (left, right) = figure_and_axes((12, 5), 1, 2, width_ratios=(3, 2))
    draw_trials(left, search)
    draw_importance(right, search)
    figure.suptitle(f"{search.name} on {search.data.directory.resolve().name}: search for flags")
    save_figure(figure, path)


def draw_trials(axes, search):
    """Each trial at the time at which it ended, and the best one until then.

    Trials that failed, and those far below the others, are at the lower edge.
    """
    trials = search.finished()
    minutes = np.cumsum([trial.user_attrs["seconds"] for trial in trials]) / 60
    values = np.array([np.nan if trial.value is None else 100 * trial.value for trial in trials])
    completed = np.array([trial.state == TrialState.COMPLETE for trial in trials])
    failed = np.array(["error" in trial.user_attrs for trial in trials])
    best = np.fmax.accumulate(np.where(completed, values, np.nan))
    top = np.nanmax(best)
    bottom = top - max(MARGIN, 3 * (top - np.median(values[completed])))
    edge = np.fmax(values, max(bottom, np.nanmin(values)))
    axes.step(minutes, best, where="post", color="tab:orange", label="best so far")
    axes.plot(minutes[completed], edge[completed], "o", color="tab:blue", label="completed")
    stopped = ~completed & ~failed
    if stopped.any():
        axes.plot(minutes[stopped], edge[stopped], "x", color="gray", label="stopped")
    if failed.any():
        axes.plot(minutes[failed], edge[failed], "v", color="tab:red", label="failed", clip_on=False)
    star = search.best().number
    axes.plot(minutes[star], values[star], "*", color="tab:orange", markersize=16, label=f"best: trial {star + 1}")
    axes.set(xlabel="minutes of search", ylabel=f"validation {search.tally.title}, %", xlim=(0, None))
    axes.legend()


def draw_importance(axes, search):
    """The share of the score's variance that each flag explains (fANOVA), over completed trials."""
    axes.set(title="importance of each flag")
    values = [trial.value for trial in search.finished() if trial.state == TrialState.COMPLETE]
    if len(values) < LEAST or len(set(values)) == 1:
        why = (
            f"needs {LEAST} completed trials"
            if len(values) < LEAST
            else f"all trials have the same {search.tally.title}"
        )
        axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(search.study, evaluator=evaluator)
    names = list(shares)[::-1]
    bars = axes.barh([f"--{name}" for name in names], [shares[name] for name in names], color="tab:blue")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel=f"share of the variance of the {search.tally.title}", xlim=(0, 1.1 * max(shares.values())))
