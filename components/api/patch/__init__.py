"""How an object changes: JSON patch, merge patch, strategic merge patch and server-side apply, as pure functions.

None of them changes its arguments. Each raises PatchError with upstream's words.
"""

from kubeglass.components.api.patch.errors import PatchError as PatchError
from kubeglass.components.api.patch.json import apply_json_patch as apply_json_patch
from kubeglass.components.api.patch.merge import apply_merge_patch as apply_merge_patch
from kubeglass.components.api.patch.strategic import apply_strategic_merge_patch as apply_strategic_merge_patch
