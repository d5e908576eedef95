// What a dashboard file may hold, by Grafana's own types: those of the file, and of the two kinds of panel that we draw, which the
// type of the file leaves open. Grafana fills in what is missing, so an option may be absent; none may be misspelt or of the wrong type.
import type { Dashboard, DataQuery, DataSourceRef, FieldConfig, FieldConfigSource, Panel } from '@grafana/schema';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// Of a type made for programs, what JSON can say: an enum of strings is any of these strings.
type Json<T> = T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends (infer Item)[] ? Json<Item>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;

// A query of the Prometheus data source, whose types Grafana does not publish.
interface Query extends DataQuery {
  datasource: DataSourceRef;
  editorMode?: 'builder' | 'code';
  expr: string;
  format?: 'heatmap' | 'table' | 'time_series';
  instant?: boolean;
  interval?: string;
  legendFormat?: string;
  range?: boolean;
}

interface Fields<Custom> extends Omit<FieldConfigSource, 'defaults'> {
  defaults: Omit<FieldConfig, 'custom'> & { custom?: Custom };
}

interface Drawn<Type extends string, Options, Custom>
  extends Omit<Panel, 'fieldConfig' | 'options' | 'targets' | 'title' | 'type'> {
  type: Type;
  title: string;
  options: Partial<Options>;
  fieldConfig: Fields<Custom>;
  targets: Query[];
}

type Drawing = Drawn<'stat', stat.Options, Record<string, never>> | Drawn<'timeseries', timeseries.Options, timeseries.FieldConfig>;

type Variables = Required<Dashboard>['templating'];

export type File = Json<Omit<Dashboard, 'panels' | 'templating'> & { uid: string; title: string; templating: Variables }>
  & { panels: Json<Drawing>[] };
