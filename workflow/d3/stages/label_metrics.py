"""How instructions are worded: do they begin with a verb that commands, and how many are alike?"""

import re
from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

VERB_LIST = """
abstract accept access accumulate activate adapt add address adjust adopt advance aggregate align allocate allow
analyse analyze annotate append apply approximate archive arrange ask assemble assert assign associate attach
authenticate automate avoid await balance base batch begin benchmark bind block boost bound branch break bring
broadcast buffer build bump bundle cache calculate call cancel capitalise capitalize capture cast catch center chain
change check choose clamp classify clean clear clip clone close cluster code collapse collect color colour combine
comment commit compare compile complete compose compress compute concatenate condense configure confirm connect
consider consolidate construct consume contain continue convert copy correct count cover crawl create crop customise
customize cut cycle deal debug decide declare decode decompose decompress decorate decouple decrease decrement decrypt
dedent deduplicate default defer define delay delegate delete deliver demonstrate deny deploy deprecate derive
describe deserialise deserialize design detach detect determine develop differentiate disable discard dispatch display
distribute divide do document double download draw drive drop dump duplicate echo edit embed emit emulate enable
encapsulate enclose encode encrypt end enforce enhance ensure enter enumerate erase escape establish estimate evaluate
examine exclude execute exercise exit expand explain explore export expose express extend extract factor fail fetch
fill filter finalise finalize find finish fit fix flag flatten flip flush fold follow force format forward free freeze
fuse gather generalise generalize generate get give go grab grant graph group guard guess handle hash help hide
highlight hold hook identify ignore illustrate implement import improve include increase increment indent index
indicate infer inform inherit initialise initialize inject inline insert inspect install instantiate integrate
intercept interpolate interpret introduce invalidate invert invoke isolate issue iterate join judge jump keep label
launch lay lazy-load leave let leverage limit link lint list listen load locate lock log look loop lower maintain make
manage manipulate map mark mask match maximise maximize measure memoise memoize merge migrate minimise minimize mirror
mock model modify modularise modularize monitor move multiply mutate name navigate negate normalise normalize note
notify number obtain omit open operate optimise optimize order organise organize output overload override overwrite
pack package pad paginate parallelise parallelize parameterise parameterize parse partition pass paste patch pause
perform permute persist pick pipe place plan play plot point poll pop populate port position post precompute predict
prefer prefix prepare prepend present preserve prevent print prioritise prioritize process produce profile program
project prompt protect prove provide prune publish pull purge push put query queue quit quote raise randomise
randomize rank rate read rearrange rebuild receive recognise recognize record recover recreate recurse redirect reduce
refactor refer refine reformat refresh register reject relate relax release reload remap remember remove rename render
reorder reorganise reorganize repair repeat replace replicate report represent reproduce request require rescale
reserve reset reshape resize resolve respond restart restore restrict restructure resume retain retrieve retry return
reuse reverse revert review revise rewrite rotate round route run sample sanitise sanitize save say scale scan
schedule score scrape scroll search seed segment select send separate sequence serialise serialize serve set share
shift shorten show shuffle shut signal simplify simulate skip sleep slice solve sort specialise specialize specify
split stack standardise standardize start stop store stream streamline strip structure style submit subscribe
substitute subtract suffix sum summarise summarize supply support suppress suspend swap switch synchronise synchronize
synthesise synthesize tabulate tag take teach tell terminate test throttle throw tidy time toggle tokenise tokenize
total trace track train transfer transform translate transpose traverse treat trigger trim truncate try tune turn type
undo unify unpack unregister unwrap update upgrade upload use utilise utilize validate verify view visit visualise
visualize vote wait walk warn watch weigh weight wrap write yield zip
"""
VERBS = frozenset(VERB_LIST.split())
"""Base forms of verbs that instructions about programs begin with; our own list."""
ADVERBS = frozenset(("also", "then", "now", "next", "first", "finally", "further", "additionally", "please", "always"))
"""Words that may stand before the verb."""
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
PREFIX = re.compile(r"(?:re|un|de|dis|pre|over|auto)-?(?=[a-z]{3})")


def verb_first(sentence: str) -> bool:
    """Return whether a sentence begins with a verb in its base form, as commands do.

    The rule: the first word, after adverbs such as "also" and "please", is in `VERBS`, or is one of
    them after `re`, `un`, `de`, `dis`, `pre`, `over` or `auto` (`reimplement`). Some verbs are also
    nouns ("Test files ..."): those pass. No language model is asked.
    """
    words = [word.lower() for word in WORD.findall(sentence)]
    while words and words[0] in ADVERBS:
        words.pop(0)
    if not words:
        return False
    prefix = PREFIX.match(words[0])
    return words[0] in VERBS or (prefix is not None and words[0][prefix.end() :] in VERBS)


def duplicate_key(sentence: str) -> int:
    """Return 64 bits that are equal for sentences of the same words, whatever their case and punctuation."""
    words = " ".join(re.findall(r"\w+", sentence.lower()))
    return int.from_bytes(blake2b(words.encode(), digest_size=8).digest(), "big")


def duplicate_share(keys: "array[int]") -> float | None:
    """Return the share of sentences that say again what another one says, out of their 64-bit keys; None for none.

    Of five equal sentences four are duplicates. Takes 8 bytes a sentence while it counts, and as much to sort.
    """
    import numpy

    return 1 - len(numpy.unique(numpy.frombuffer(keys, dtype=numpy.uint64))) / len(keys) if keys else None


def duplicates_across(keys: "array[int]", owners: "array[int]") -> int:
    """Return how many sentences say again what one of another file says; see `repeats_other_file`."""
    return int(repeats_other_file(keys, owners).sum())


def repeats_other_file(keys: "array[int]", owners: "array[int]") -> "NDArray[numpy.bool_]":
    """Return for each sentence whether it says again what one of another file says.

    `keys` are those of `duplicate_key`, `owners` 64 bits of the id of each sentence's file. Of the files that share a
    sentence, the one with the smallest number owns it; the sentence's occurrences in all others are repeated.
    """
    import numpy

    if not keys:
        return numpy.zeros(0, dtype=bool)
    said, files = numpy.frombuffer(keys, dtype=numpy.uint64), numpy.frombuffer(owners, dtype=numpy.uint64)
    order = numpy.lexsort((files, said))
    said, files = said[order], files[order]
    first = numpy.concatenate(([True], said[1:] != said[:-1]))
    owner = files[numpy.flatnonzero(first)][numpy.cumsum(first) - 1]
    found = numpy.empty(len(order), dtype=bool)
    found[order] = files != owner
    return found
