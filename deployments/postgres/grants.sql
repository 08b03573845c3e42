-- psql -v ON_ERROR_STOP=1 -f deployments/postgres/grants.sql "$NEOCUBE_INDEX_URL"
-- As the owner of the index, after every `neocube init`: a new version may bring tables. With ODC's `postgres` driver: psql -v odc=agdc ….
\if :{?odc}
\else
\set odc odc
\endif

grant usage on schema :odc, neocube to neocube_worker, neocube_page, neocube_reader;
grant select on all tables in schema :odc, neocube to neocube_worker, neocube_page, neocube_reader;

-- The worker indexes, publishes and retires. It makes no table, and changes neither the log of who did what nor the version of the schema.
grant insert, update, delete on all tables in schema :odc, neocube to neocube_worker;
grant usage on all sequences in schema :odc, neocube to neocube_worker;
revoke update, delete on neocube.audit from neocube_worker;
revoke insert, update, delete on neocube.revision from neocube_worker;

-- The request page writes requests, and lines of the log.
grant insert, update on neocube.request to neocube_page;
grant insert on neocube.audit to neocube_page;

-- datacube-explorer reads ODC's tables only.
grant usage on schema :odc to odc_user;
grant select on all tables in schema :odc to odc_user;
