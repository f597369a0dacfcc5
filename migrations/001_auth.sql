create extension if not exists citext;

create table users (
  id uuid primary key default gen_random_uuid(),
  email citext not null unique,
  password_hash text not null,
  email_verified boolean not null default false,
  disabled_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- One row per session. A rotation rewrites it in place and touches no indexed column; the free space that the
-- fillfactor leaves in each page keeps such updates heap-only (HOT), so the table and its indexes do not grow.
create table refresh_tokens (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references users (id) on delete cascade,
  family_hash bytea not null unique,
  token_hash bytea not null,
  parent_hash bytea,
  rotation_salt bytea,
  attempt_hash bytea,
  created_at timestamptz not null default now(),
  issued_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz,
  user_agent text check (length(user_agent) <= 512),
  ip inet
) with (fillfactor = 70);

create index refresh_tokens_user_id on refresh_tokens (user_id);

-- Counters of the rate limits and used jti values, in the form that rate-limiter-flexible reads and writes.
-- Keys are SHA-256, so no email and no address stands here; expired rows are purged once a day.
create table rate_limits (
  key varchar(255) primary key,
  points integer not null default 0,
  expire bigint
);

create index rate_limits_expire on rate_limits (expire);
