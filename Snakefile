"""OrthoGrad, from the data to the report: `snakemake --cores 2`."""

import os
import sys

from snakemake.utils import min_version

min_version("9.0")


# A config file on the command line replaces the default: Snakemake would merge the two.
if "profile" not in config:

    configfile: f"{workflow.basedir}/config/laptop.yaml"


# Every rule runs `python -m orthograd` with the Python that runs Snakemake and with the code of this checkout.
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")]))
if workflow.basedir not in sys.path:
    sys.path.insert(0, workflow.basedir)


include: "workflow/rules/common.smk"


localrules:
    all,
    download,


rule all:
    input:
        page=REPORT + "/index.html",
    default_target: True


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/unlearn.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
