"""From texts to padded batches of token ids: tokenizers, chat templates, encoded sets. No models, no losses."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
