"""Settings that are written as options of other programs are."""

import pytest

from stylegallery.errors import InputError
from stylegallery.options import require_options

DASHES = "is no option; a setting is written without dashes:"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--content", "photo.jpg"], f"--content {DASHES} content=photo.jpg"),
        (["--content=photo.jpg", "out=folder"], f"--content {DASHES} content=photo.jpg"),
        (["out=folder", "--references", "a.png", "b.jpg", "--seed", "1"], f"{DASHES} 'references=[a.png,b.jpg]'"),
        (["--content", "my photo (1).jpg"], f"""{DASHES} 'content="my photo (1).jpg"'"""),
        (["--output-size", "content"], f"--output-size {DASHES} output_size=content"),
        (["-m", "-seed", "seed=1,2"], f"-seed {DASHES} seed=VALUE"),
        (["--experiment", "table1"], f"--experiment {DASHES} experiment=table1"),  # Hydra has --experimental-rerun
        (["experiment=table1", "--limit=3"], f"--limit {DASHES} limit=3"),
        (["--contnt", "photo.jpg"], "--contnt is no option, and contnt no setting; did you mean content?"),
        (["--foo"], "--foo is no option, and foo no setting; python run.py --help lists all"),
        (["--multi", "seed=1,2"], "--multi is no option, and multi no setting; "),
        (["--cfg", "jobs"], "argument --cfg/-c: invalid choice: 'jobs' (choose from"),
        (["--config-name"], "expected one argument; python run.py --hydra-help shows these options"),
    ],
)
def test_what_to_write_instead(given: list[str], says: str) -> None:
    with pytest.raises(InputError) as raised:
        require_options(given)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    "given", [[], ["--help"], ["--cfg", "job"], ["-m", "seed=1,2"], ["--multirun", "--", "seed=1"], ["seed=-1"]]
)
def test_options_of_hydra_stay(given: list[str]) -> None:
    require_options(given)
