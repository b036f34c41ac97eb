{# Where dbt puts a table of the state, for hooks and what else is no model's own SQL. (In that, ref() says it, and the
   models are built in the right order.) #}
{% macro state_relation(name) %}
    {%- if not execute -%}{{ return(api.Relation.create(identifier=name)) }}{%- endif -%}
    {%- set node = graph.nodes['model.aam_onboard.' ~ name] -%}
    {{ return(api.Relation.create(database=node.database, schema=node.schema, identifier=node.alias)) }}
{% endmacro %}
