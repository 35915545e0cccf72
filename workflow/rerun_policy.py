"""The one place that teaches Snakemake's DAG our rule: a job runs when content changed, not when times did.

Snakemake decides by modification times, by what it wrote into `.snakemake/metadata`, and runs every
job after a job that ran. Here the statements beside the results decide (`d3.provenance.staleness`), and a job whose
upstream came out with the same bytes is dropped in the same run. Six places of Snakemake are touched:

- `_IOFile.is_newer` says no: times decide nothing.
- `persistence.params_changed` gives our reasons; the other questions to the metadata are answered "no".
- `DAG.update_needrun` is followed by a file of reasons, for `d3 why` and `d3 plan`.
- `DAG.check_and_touch_output` leaves the times of outputs alone, also in the process that runs one job.
- `Rule.is_producer` looks the outputs of a rule without wildcards up, instead of matching a pattern for each.
- `DAG.finish` is followed by dropping the jobs that are ready, were only queued because of the
  finished job, and for which `d3.provenance.staleness` finds no reason.

The names are those of Snakemake 9.27; with another version, or when the rerun trigger `params` is
off, this steps aside with one warning. Then parameters and times decide: more reruns, never fewer. A
process that runs one job on a node does what its head decided. Rules without our parameter `stale`, as those of a
workflow that uses this one as a module, keep all of Snakemake's triggers.
"""

import gc
import json
import os
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import snakemake
from snakemake.dag import DAG
from snakemake.io import _IOFile
from snakemake.logging import logger
from snakemake.persistence import ParamsChange
from snakemake.rules import Rule
from snakemake.settings.types import RerunTrigger
from snakemake_interface_executor_plugins.settings import ExecMode

from d3.pipeline.pipeline import code_of
from d3.pipeline.registry import STAGES
from d3.provenance.code_digest import digest_of_modules
from d3.provenance.environments import image, venv
from d3.provenance.staleness import Judge, Wanted
from d3.provenance.statement import more_packages

VERSION = "9.27."
FEW_COLLECTIONS = 200_000
"""New objects between two collections of garbage: the DAG stays, and looking through it is a fifth of a dry run."""
REASONS = "D3_REASONS"
"""Environment variable: file that the state of every job is written to, as JSON."""


FOLLOWED = []
"""Workflows whose DAG is patched; one that uses a module twice includes it twice."""


def is_ours(rule):
    """Return whether content decides about the jobs of a rule."""
    return rule is not None and rule.params.get("stale") is not None


class Words(ParamsChange):
    """Reasons in words, where Snakemake expects changed parameters."""

    def __init__(self, words, files=()):
        super().__init__(only_new=set(words), files=set(files))
        self.words = list(words)

    def __str__(self):
        return "; ".join(self.words)


def follow_content(workflow, chain, *, images):
    """Let content decide in this workflow; `images`: the jobs run in images."""
    if workflow in FOLLOWED:
        return
    FOLLOWED.append(workflow)
    if snakemake.__version__.startswith(VERSION):
        leave_times(workflow)
    if workflow.exec_mode != ExecMode.DEFAULT:
        return
    gc.set_threshold(FEW_COLLECTIONS, 20, 100)
    if snakemake.__version__.startswith(VERSION):
        Content(workflow, chain, images).install()
    else:
        step_aside()


def leave_times(workflow):
    """Leave the times of finished outputs as their statement has them: a touched file would be read again."""
    check = DAG.check_and_touch_output

    async def check_only(dag, job, **options):
        if dag.workflow is workflow and is_ours(job.rule) and RerunTrigger.PARAMS in workflow.rerun_triggers:
            options |= {"no_touch": True, "check_output_mtime": False}
        await check(dag, job, **options)

    DAG.check_and_touch_output = check_only


def step_aside():
    """Say that Snakemake's own rules hold."""
    logger.warning(
        f"Snakemake {snakemake.__version__}: parameters and times decide what runs again, not content. "
        f"That needs version {VERSION}x and the rerun trigger `params`."
    )


class Content:
    """The patched functions and what they share."""

    def __init__(self, workflow, chain, images):
        self.workflow, self.chain, self.images = workflow, chain, images
        self.judge = Judge()
        self.template = cache(self._template)
        self.outputs = cache(lambda job: list(map(str, job.output)))
        self.decides = False

    def install(self):
        """Put the patches in place; workflows of other Snakefiles in this process keep what they had."""
        update_needrun, finish, is_newer = DAG.update_needrun, DAG.finish, _IOFile.is_newer

        matches = Rule.is_producer
        products = cache(lambda rule: frozenset(map(str, rule.products())))

        def is_producer(rule, file):
            return matches(rule, file) if rule.has_wildcards() or not is_ours(rule) else str(file) in products(rule)

        async def newer(file, time):
            return False if self.decides and is_ours(file.rule) else await is_newer(file, time)

        async def update(dag, create_inventory=False):
            if dag.workflow is self.workflow:
                self.answer_for(dag)
            await update_needrun(dag, create_inventory)
            if dag.workflow is self.workflow and self.decides:
                self.say_mixed()
                self.write_reasons(dag)

        async def finished(dag, job, *arguments, **options):
            ready = await finish(dag, job, *arguments, **options)
            if dag.workflow is self.workflow and self.decides and not self.workflow.dryrun:
                ready |= self.drop(dag, list(job) if job.is_group() else [job])
            return ready

        _IOFile.is_newer, DAG.update_needrun, DAG.finish = newer, update, finished
        Rule.is_producer = is_producer

    def answer_for(self, dag):
        """Answer the DAG's questions about what was recorded."""
        self.decides = RerunTrigger.PARAMS in self.workflow.rerun_triggers
        if not self.decides:
            return step_aside()
        self.answer("has_metadata", lambda job: True)
        self.answer("has_outdated_metadata", lambda job: False)
        self.answer("params_changed", lambda job: Words(self.reasons(dag, job), job.output))
        for question in ("input_changed", "code_changed", "software_stack_changed"):
            self.answer(question, lambda job: [])

    def answer(self, question, ours):
        """Answer a question to the metadata about our jobs; Snakemake answers those about others."""
        persistence = self.workflow.persistence
        theirs = getattr(type(persistence), question)

        def answer(job, file=None):
            if is_ours(job.rule):
                return ours(job)
            return theirs(persistence, job) if file is None else theirs(persistence, job, file=file)

        setattr(persistence, question, answer)

    def wanted(self, dag, job):
        """Return what a job would be today, or None for a target without outputs."""
        stale = job.params.get("stale")
        if stale is None or not job.output:
            return None
        opt_out = (job.params.get("opt_out") or [None])[-1]
        makers = {str(file): self.outputs(by) for by, files in dag.dependencies[job].items() for file in files}
        return replace(
            self.template(stale["stage"], stale["config"], stale["environment"], stale["image"]),
            prompts=stale["prompts"],
            inputs={str(file): makers.get(str(file), []) for file in job.input},
            outputs=self.outputs(job),
            opt_out=Path(opt_out) if opt_out else None,
        )

    def _template(self, stage, config, environment, path):
        """Return what all jobs of a stage have in common."""
        settings = json.loads(config)
        modules = code_of(stage, settings)
        return Wanted(
            stage=stage,
            config=settings if STAGES[stage].settings else None,
            prompts={},
            modules=modules,
            code=digest_of_modules(modules),
            environment=self.environment(environment, path, settings),
        )

    def environment(self, name, path, settings):
        """Return the environment that a job runs in; what the workflow itself does runs on the bare machine."""
        if self.images and name != "main":
            return image(Path(path))
        return venv(name, also=more_packages(settings))

    def reasons(self, dag, job):
        """Return the reasons why a job must run."""
        wanted = self.wanted(dag, job)
        return [] if wanted is None else self.judge.reasons(wanted)

    def drop(self, dag, jobs):
        """Drop the jobs after `jobs` that are ready and for which nothing changed, and those after them."""
        ready, waiting = False, list(jobs)
        for job in jobs:
            self.judge.forget(list(map(str, job.output)))
        while waiting:
            for job in dag.depending[waiting.pop()]:
                if job not in dag._ready_jobs or not _only_follows(dag.reason(job)) or job.params.get("stale") is None:
                    continue
                words = self.reasons(dag, job)
                if words:
                    dag.reason(job).params_changed = Words(words, job.output)
                    continue
                logger.info(f"Unchanged inputs, not run: {job.rule.name} for {', '.join(map(str, job.output[:1]))}")
                dag._ready_jobs.discard(job)
                dag._needrun.discard(job)
                dag.reason(job).mark_finished()
                dag._len -= 1
                after = [later for later in dag.depending[job] if dag.needrun(later)]
                for later in after:
                    dag._n_until_ready[later] -= 1
                ready |= bool(dag.update_ready(after))
                waiting.append(job)
        return ready

    def say_mixed(self):
        """Say once that results were made in images and this run is without them, or the other way round."""
        for kind, number in Counter(self.judge.mixed.values()).items():
            made, now = ("in images", "without") if kind == "image" else ("without images", "in them")
            logger.warning(
                f"{number} results were made {made} and this run is {now}: they are taken as they are. "
                f"{'Add --sdm apptainer' if kind == 'image' else 'Leave out --sdm apptainer'}, or use another "
                "--directory, so that one folder does not mix both."
            )
        self.judge.mixed.clear()

    def write_reasons(self, dag):
        """Write the state of every job to the file that `D3_REASONS` names."""
        if REASONS not in os.environ:
            return
        states = []
        for job in dag.jobs:
            before = [by for by in dag.dependencies[job] if dag.needrun(by)]
            wanted = self.wanted(dag, job)
            if wanted is not None:
                words = self.judge.reasons(wanted)
                state = "stale" if words else "forced" if dag.reason(job).forced else "follows"
                states.append(
                    {
                        "rule": job.rule.name,
                        "stage": wanted.stage,
                        "outputs": list(wanted.outputs),
                        "state": state if dag.needrun(job) else "fresh",
                        "reasons": words,
                        "after": [str(file) for by in before for file in by.output[:1]],
                        "inputs": list(wanted.inputs),
                    }
                )
        Path(os.environ[REASONS]).write_text(json.dumps(states), encoding="utf-8")


def _only_follows(reason):
    """Return whether a job was queued for no other reason than that a job before it runs."""
    others = set(reason.get_names()) - {"input files updated by another job"}
    return not others and bool(reason.updated_input_run)
