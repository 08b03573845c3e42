-- psql -v ON_ERROR_STOP=1 -f deployments/postgres/roles.sql postgres
-- As a superuser, before the first `neocube init`; safe to repeat: the roles, and the databases. A role whose password is in the environment gets it; one
-- without signs in by the socket, as the system user of its name.
\set owner_password ''
\set worker_password ''
\set page_password ''
\set reader_password ''
\set explorer_password ''
\set prefect_password ''
\getenv owner_password OWNER_PASSWORD
\getenv worker_password WORKER_PASSWORD
\getenv page_password PAGE_PASSWORD
\getenv reader_password READER_PASSWORD
\getenv explorer_password EXPLORER_PASSWORD
\getenv prefect_password PREFECT_PASSWORD

create temporary table wanted (role text, password text);
insert into wanted values
    ('neocube', :'owner_password'),
    ('neocube_worker', :'worker_password'),
    ('neocube_page', :'page_password'),
    ('neocube_reader', :'reader_password'),
    ('explorer', :'explorer_password'),
    ('prefect', :'prefect_password');

select format('create role %I login', role) from wanted where not exists (select from pg_roles where rolname = role)
\gexec
select format('alter role %I password %L', role, password) from wanted where password <> ''
\gexec

-- ODC's own roles of its postgis driver: datacube-explorer hands its tables over to them. Nobody signs in as one, and grants.sql lets them read.
select format('create role %I nologin', role) from unnest(array['odc_user', 'odc_manage', 'odc_admin']) as role
where not exists (select from pg_roles where rolname = role)
\gexec
grant odc_user to odc_manage;
grant odc_manage to odc_admin;
grant odc_admin to explorer;

select format('create database %I owner %I', name, name)
from unnest(array['neocube', 'prefect']) as name
where not exists (select from pg_database where datname = name)
\gexec

revoke all on database neocube, prefect from public;
grant connect, temporary on database neocube to neocube_worker, neocube_page, neocube_reader, explorer;

\connect neocube
create extension if not exists postgis;
revoke create on schema public from public;
-- datacube-explorer keeps its summaries in a schema of its own, and makes a type without saying where.
create schema if not exists cubedash authorization odc_admin;
grant usage, create on schema cubedash to odc_manage;
alter role explorer in database neocube set search_path = cubedash, public;
