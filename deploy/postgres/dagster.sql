-- Two databases: the ledger and Dagster each keep a table alembic_version.
create database dagster;
