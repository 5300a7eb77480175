"""The page's own modules become one script, in which a name that stands twice would hide another."""

import re
from collections import Counter

from unsqueeze.report.page import SCRIPTS, asset, own_script


def test_no_name_stands_twice() -> None:
    declared = Counter(
        name
        for script in SCRIPTS
        for name in re.findall(r"^(?:export )?(?:async )?(?:function|const|let) (\w+)", asset(script), re.MULTILINE)
    )
    assert [name for name, count in declared.items() if count > 1] == []


def test_nothing_is_imported_or_exported_at_the_end() -> None:
    assert not re.search(r"^(import|export)\b", own_script(), re.MULTILINE)


def test_modules_import_from_those_before_them_alone() -> None:
    for place, script in enumerate(SCRIPTS):
        imported = re.findall(r'^import .* from "\./(.*)";$', asset(script), re.MULTILINE)
        assert set(imported) <= set(SCRIPTS[:place]), script
