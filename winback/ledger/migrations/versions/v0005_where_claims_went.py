"""Claims say which destination they are for, and tell whether the address has changed since: where a dispatcher dies there is no outcome.

Claims of before have neither: what they left in doubt is taken to be at the present destination and address, as it was until now.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("claims", sa.Column("destination", sa.Text(), nullable=True))
    op.add_column("claims", sa.Column("address_check", sa.Text(), nullable=True))
