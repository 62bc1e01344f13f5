"""The commands that make the results of a run folder again, as they were given."""

import shlex

from evaluation.annotations import annotated_with, deciding
from evaluation.publish.studies import Study
from evaluation.score_files import Scores, read_scores
from harness.folder import RunFolder
from harness.frozen import differences

# Where and how a run is done, which decides no result.
ELSEWHERE = ("out=", "shard=", "launcher=", "launcher.", "tracker=", "tracker.", "data.root=", "device=")


def commands(study: Study) -> list[str]:
    """Run, annotate and score: every command line that labels of the study were frozen with.

    Folders of older versions do not keep them; a comment says of which labels the settings are in OUT/config alone.
    """
    sweep, out = study.sweep, str(study.sweep.out)
    given = {label: tuple(decisive(tuple(sweep.frozen[label]["overrides"]))) for label in study.ran}
    lines = [shlex.join(["python", "run.py", *line, f"out={out}"]) for line in dict.fromkeys(given.values()) if line]
    if unknown := [label for label, line in given.items() if not line]:
        data = [f"data={study.manifest}"] if study.manifest != study.experiment.benchmarks[0] else []
        lines.append(shlex.join(["python", "run.py", f"experiment={study.experiment.name}", *data, f"out={out}"]))
        lines.append(f"# no command line is known of {', '.join(unknown)}: see the settings in {out}/config")
    lines.append(shlex.join(["python", "-m", "evaluation.annotations", out]))
    settings = [deciding(sweep.frozen[label]["method"]) for label in study.ran]
    if any(all(differences(config, one) for one in settings) for config in annotated_with(sweep.out)):
        lines.append(f"# annotations have settings that none of these runs has: they are in {out}/annotations")
    scored = next((place.scores for place in RunFolder(sweep.out).results() if place.scores.is_file()), None)
    size = read_scores(scored, Scores).size if scored else None
    return [*lines, shlex.join(["python", "-m", "evaluation.score", out, *(["--size", str(size)] if size else [])])]


def decisive(overrides: tuple[str, ...]) -> list[str]:
    """The overrides that decide results; none where one of them chooses code, which only a command line may do and no
    run folder."""
    if any("_target_" in override or override.startswith(("hydra.", "-")) for override in overrides):
        return []
    return [override for override in overrides if not override.startswith(ELSEWHERE)]
