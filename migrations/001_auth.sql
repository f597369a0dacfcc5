-- Emails come in lower case from the code, so that no locale of a database has a say.
create table users (
  id uuid primary key default gen_random_uuid(),
  email text not null unique,
  password_hash text not null,
  email_verified boolean not null default false,
  disabled_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

-- One row per session. Its id is derived from the token's family, so that every statement finds it by this one key.
-- A rotation rewrites it in place and touches no indexed column; the free space that the fillfactor leaves in each page
-- keeps such updates heap-only (HOT), so the table and its indexes do not grow.
create table refresh_tokens (
  id uuid primary key,
  user_id uuid not null references users (id) on delete cascade,
  generation integer not null default 0,
  token_hash bytea not null,
  parent_hash bytea,
  rotation_salt bytea,
  attempt_hash bytea,
  created_at timestamptz not null default now(),
  issued_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ahead_at timestamptz,
  ends_at timestamptz not null,
  revoked_at timestamptz,
  user_agent text check (length(user_agent) <= 512),
  ip inet
) with (fillfactor = 70);

create index refresh_tokens_user_id on refresh_tokens (user_id);

-- Private keys, each sealed under AUTH_KEYS_SECRET. Of many nodes that make the next key of a use at once, one succeeds.
create table keys (
  use text not null,
  number integer not null,
  kid text not null unique,
  alg text not null,
  first_use timestamptz not null,
  ends_at timestamptz,
  private_jwe text not null,
  primary key (use, number)
);

-- Counters of the rate limits and used jti values, in the form that rate-limiter-flexible reads and writes.
-- Keys are SHA-256, so no email and no address stands here.
create table rate_limits (
  key varchar(255) primary key,
  points integer not null default 0,
  expire bigint
);

create index rate_limits_expire on rate_limits (expire);
