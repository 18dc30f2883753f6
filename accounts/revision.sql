-- The revision that gateway processes poll: see accounts.models.Revision.

INSERT INTO accounts_revision (id, value) VALUES (1, 1) ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION accounts_raise_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts_revision SET value = value + 1;
    RETURN NULL;
END $$;
