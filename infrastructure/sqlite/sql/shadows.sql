-- Rebuilds as they are stored. The statements that touch rows of views are composed in shadows.py from the columns of
-- the projection.

-- name: table
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?

-- name: indexes
-- Every index by name, with the table that it is on.
SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index'
