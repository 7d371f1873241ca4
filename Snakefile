"""OrthoGrad, from the data to the report: `snakemake --cores 2`."""

import sys
from os.path import dirname
from shlex import quote

from snakemake.utils import min_version

min_version("9.0")


# A config file on the command line replaces the default: Snakemake would merge the two.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config/laptop.yaml"


if workflow.basedir not in sys.path:
    sys.path.insert(0, workflow.basedir)


include: "workflow/rules/common.smk"


# Every rule runs `python -m orthograd` with the Python that runs Snakemake and with the code of this checkout. A prefix
# replaces Snakemake's own, without which a failure that is piped into a log is none.
shell.prefix(
    f"set -euo pipefail; export PATH={quote(dirname(sys.executable))}:$PATH "
    f"PYTHONPATH={quote(str(workflow.basedir))}:${{{{PYTHONPATH:-}}}}; "
    # In the environment and in no rule: where the data come from changes nothing.
    + (f"export ORTHOGRAD_MIRROR={quote(PROFILE.mirror)}; " if PROFILE.mirror else "")
)


localrules:
    all,
    all_tables,
    download,


rule all:
    default_target: True
    input:
        page=f"{REPORT}/index.html",
        audit=f"{REPORT}/{AUDIT_PAGE}",
        speech=SPEECH_EXPERIMENTS,


# Where the scores of the models are given, no data, no model and no GPU is needed.
if not PROFILE.from_scores:

    include: "workflow/rules/data.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/unlearn.smk"
    include: "workflow/rules/evaluate.smk"

    if SINGLE:

        include: "workflow/rules/single_seed.smk"

    if PROFILE.shadows:

        include: "workflow/rules/shadows.smk"

    if PROFILE.speech:

        include: "workflow/rules/speech_common.smk"
        include: "workflow/rules/speech.smk"


include: "workflow/rules/report.smk"


if PROFILE.tuning and not PROFILE.from_scores:

    include: "workflow/rules/tune.smk"
