"""Pictures, as the embedded Appetiser and image server both read them: upright, eight bits a sample, right or refused.

Nothing of it is shared with the checks of `dlcs_assets`, which read the same files on their own, with other libraries.
"""
