-- The ledger is append-only: a correction is an entry of its own.

CREATE OR REPLACE FUNCTION billing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: correct it with an entry of its own', TG_TABLE_NAME;
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON billing_ledgerentry
    FOR EACH STATEMENT EXECUTE FUNCTION billing_refuse_change();

-- At the commit: the sides of a posting come one after the other.
CREATE OR REPLACE FUNCTION billing_check_posting() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    off numeric;
BEGIN
    SELECT sum(amount_nano_usd) INTO off FROM billing_ledgerentry WHERE posting_id = NEW.posting_id;
    IF off <> 0 THEN
        RAISE EXCEPTION 'posting % is off by % nano-USD', NEW.posting_id, off USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER posting_sums_to_zero AFTER INSERT ON billing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION billing_check_posting();
