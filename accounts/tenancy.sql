-- What was used stays whose it was: quotas, holds and records name the organization beside the project, and the project
-- beside the key, and are not asked again.

CREATE OR REPLACE FUNCTION accounts_refuse_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'A % stays where it was made: make a new one there.', TG_ARGV[0] USING ERRCODE = '23514';
END $$;

CREATE OR REPLACE TRIGGER refuse_move BEFORE UPDATE OF organization_id ON accounts_project
FOR EACH ROW WHEN (OLD.organization_id <> NEW.organization_id) EXECUTE FUNCTION accounts_refuse_move('project');

CREATE OR REPLACE TRIGGER refuse_move BEFORE UPDATE OF project_id ON accounts_apikey
FOR EACH ROW WHEN (OLD.project_id <> NEW.project_id) EXECUTE FUNCTION accounts_refuse_move('key');
