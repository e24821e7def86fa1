"""What migrations of ours do on tables that may be large."""

from django.db.migrations.operations import AddConstraint, AddIndex, AlterField, RemoveConstraint, RemoveIndex


class AddIndexGently(AddIndex):
    """Add an index while others go on writing: PostgreSQL would keep them waiting until it is built.

    Its migration is `atomic = False`, and has nothing else in it; should it be interrupted, it is run again. MariaDB
    and MySQL build indexes so by themselves.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index, concurrently=True)  # what was left when it was interrupted
            schema_editor.add_index(model, self.index, concurrently=True)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index, concurrently=True)


class AddUniqueGently(AddConstraint):
    """Add a unique constraint on columns while others go on writing; interrupted, it is run again.

    For the rest as `AddIndexGently`.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model) or self._is_there(schema_editor):
            return
        quote = schema_editor.quote_name
        name, table = quote(self.constraint.name), quote(model._meta.db_table)
        columns = ", ".join(quote(model._meta.get_field(field).column) for field in self.constraint.fields)
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # what was left when it was interrupted
        schema_editor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns})")
        schema_editor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}")

    def _is_there(self, schema_editor):
        if schema_editor.collect_sql:
            return False
        with schema_editor.connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_constraint WHERE conname = %s", [self.constraint.name])
            return cursor.fetchone() is not None


class RemoveUniqueGently(RemoveConstraint):
    """Remove a constraint, unless an interrupted run has done so."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            table, name = map(schema_editor.quote_name, (model._meta.db_table, self.name))
            schema_editor.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")


class RemoveIndexGently(RemoveIndex):
    """Remove an index without waiting for whoever reads the table, and having all others wait behind that."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            index = from_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
            schema_editor.remove_index(model, index, concurrently=True)

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            index = to_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
            schema_editor.add_index(model, index, concurrently=True)


class DropFieldIndexGently(AlterField):
    """Take the index of its own (`db_index`) from a field, and touch nothing else.

    Django would check a foreign key against all rows again, and on SQLite write the whole table anew.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = from_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        column, named = model._meta.get_field(self.name).column, {index.name for index in model._meta.indexes}
        for name in schema_editor._constraint_names(model, [column], index=True, unique=False, exclude=named):
            schema_editor.execute(schema_editor._delete_index_sql(model, name, **_gently(schema_editor)))

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        model = to_state.apps.get_model(app_label, self.model_name)
        field = model._meta.get_field(self.name)
        allowed = self.allow_migrate_model(schema_editor.connection.alias, model)
        if allowed and schema_editor._field_should_be_indexed(model, field):
            schema_editor.execute(schema_editor._create_index_sql(model, fields=[field], **_gently(schema_editor)))


def _gently(schema_editor):
    return {"concurrently": True} if schema_editor.connection.vendor == "postgresql" else {}
