"""The real sandbox, and a real store for the stage that builds shells."""

from tests.builder.conftest import builder, images  # noqa: F401 - fixtures
from tests.builder.test_uncached import uncached  # noqa: F401 - a fixture
from tests.sandbox.conftest import sandbox  # noqa: F401 - a fixture
