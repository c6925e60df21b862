-- world: call apply 0
-- world: effect apply 0
-- world: call apply 1
-- world: effect apply 1
-- world: call undo 1
-- world: effect undo 1
INSERT INTO goose_db_version VALUES(1,0,1,'2026-11-23 04:03:32');
INSERT INTO goose_db_version VALUES(2,1,1,'2026-11-23 04:03:32');
INSERT INTO goose_db_version VALUES(3,2,1,'2026-11-23 04:03:32');
INSERT INTO goose_db_version VALUES(4,3,1,'2026-11-23 04:03:32');
INSERT INTO goose_db_version VALUES(5,4,1,'2026-11-23 04:03:32');
INSERT INTO goose_db_version VALUES(6,5,1,'2026-11-23 04:03:32');
INSERT INTO incidents VALUES('20261123-040332.723-c1037370',replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'verifying','','','',1,1795406612723757218,NULL,'{"cgroup":"/a"}','[{"fingerprint":"f/a","status":"firing","labels":{"alertname":"CPUThrottlingHigh","cgroup":"/a"},"startsAt":"2026-11-21T12:00:00Z"}]','{"apiVersion":"kmend.dev/v1","kind":"Diagnosis","target":{"node":"node-1","cgroup":"/a"},"node":{"name":"node-1","kernel":"","cpus":0},"window":{"start":"2026-11-23T04:03:29.738960764Z","seconds":3},"verdict":"confirmed","findings":[{"cause":"cpu.throttled","verdict":"confirmed","share":0.43,"message":"CPU throttled 1299 of 3000 ms","evidence":["e1"]}],"evidence":[{"id":"e1","probe":"threads","metric":"throttled","value":1299,"unit":"ms","lost":0}],"ledger":{"threads":0,"wall_ms":0,"states":null},"probes":null,"cost":{"cpu_ms":0,"wall_ms":0}}','{"runbook":"raise-cpu-limit","cause":"cpu.throttled","target":{"node":"node-1","cgroup":"/a"},"steps":[{"name":"first","action":"double.act","with":{"factor":2}},{"name":"second","action":"double.act"}],"verify":{"settle":"1ms","window":"1ms","improve":0.5},"undo":"automatic","evidence":["e1"],"created":"2026-11-23T04:03:32.747368257Z"}','[{"effect":"require_approval","policy":"test","rule":"ask","reason":"production","dryRun":false}]','{"cause":"cpu.throttled","before":0.43,"after":0.44,"improved":false,"better":false,"reason":"throttled 43% before, 44% after","diagnosis":{"apiVersion":"kmend.dev/v1","kind":"Diagnosis","target":{"node":"node-1","cgroup":"/a"},"node":{"name":"node-1","kernel":"","cpus":0},"window":{"start":"2026-11-23T04:03:29.803362673Z","seconds":3},"verdict":"confirmed","findings":[{"cause":"cpu.throttled","verdict":"confirmed","share":0.43,"message":"CPU throttled 1299 of 3000 ms","evidence":["e1"]}],"evidence":[{"id":"e1","probe":"threads","metric":"throttled","value":1299,"unit":"ms","lost":0}],"ledger":{"threads":0,"wall_ms":0,"states":null},"probes":null,"cost":{"cpu_ms":0,"wall_ms":0}}}',1795407512768724524,'kmend/1dcfb36e3ed35274',1795406612727326174,0);
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',1,'received',1795406612723757218,'received','received','firing: "CPUThrottlingHigh" about cgroup /a','{"source":"alertmanager/kmend"}');
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',2,'diagnosing',1795406612733250599,'diagnosing','measuring','measuring cgroup /a for 1ms',NULL);
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',3,'diagnosed',1795406612739020966,'diagnosing','confirmed','CPU throttled 1299 of 3000 ms','{"node":"node-1"}');
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',4,'planned',1795406612747495284,'planned','planned','runbook raise-cpu-limit: double.act; double.act','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',5,'decided',1795406612759802651,'planned','decided','require_approval by policy test/ask: production','{"policy":"test","rule":"ask"}');
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',6,'awaiting_approval',1795406612768750142,'awaiting_approval','awaiting_approval','waiting for an approval until 2026-11-23T04:18:32Z','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',7,'answer',1795406612776209514,'awaiting_approval','approved','approved by ada','{"by":"ada","plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',8,'intent/0',1795406612784489659,'executing','intent','step 1 of 2: double.act',NULL);
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',9,'applied/0',1795406612786762544,'executing','applied','step 1 of 2: applied:  -> ',NULL);
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',10,'intent/1',1795406612790698876,'executing','intent','step 2 of 2: double.act',NULL);
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',11,'applied/1',1795406612795324570,'executing','applied','step 2 of 2: applied:  -> ',NULL);
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',12,'verifying',1795406612801409946,'verifying','verifying','measuring cgroup /a again for 1ms',NULL);
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',13,'verified',1795406612803367953,'verifying','verified','not better: throttled 43% before, 44% after',NULL);
INSERT INTO timeline VALUES('20261123-040332.723-c1037370',14,'undo_intent/1',1795406612806813478,'verifying','undo_intent','undoing step 2 of 2',NULL);
INSERT INTO firings VALUES(replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'f/a',1795262400000000000,'20261123-040332.723-c1037370');
INSERT INTO executions VALUES(1,'20261123-040332.723-c1037370',0,'apply','{"step":0,"action":"double.act","before":"","after":"","result":"applied","state":{"was":"0.3"},"started":"2026-11-23T04:03:32.785895745Z","ended":"2026-11-23T04:03:32.786759128Z"}');
INSERT INTO executions VALUES(2,'20261123-040332.723-c1037370',1,'apply','{"step":1,"action":"double.act","before":"","after":"","result":"applied","state":{"was":"0.3"},"started":"2026-11-23T04:03:32.794030594Z","ended":"2026-11-23T04:03:32.79531911Z"}');
INSERT INTO claims VALUES('cgroup||node-1|/a','20261123-040332.723-c1037370');
INSERT INTO claims VALUES('cgroup|||/a','20261123-040332.723-c1037370');
INSERT INTO answers VALUES('20261123-040332.723-c1037370',1,'474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8',1,'ada','ada','',1795406612776209514);
INSERT INTO replicas VALUES('kmend','kmend/1dcfb36e3ed35274',1795406612534418899,1795406612825501207,2,0);
INSERT INTO dbos_migrations VALUES(107);
INSERT INTO workflow_status VALUES('20261123-040332.723-c1037370','PENDING','respond','','',X'6e756c6c',NULL,NULL,NULL,'kmend',1795406612726,1795406612725,'1','',NULL,NULL,1,NULL,NULL,NULL,'IjIwMjYxMTIzLTA0MDMzMi43MjMtYzEwMzczNzAi',NULL,NULL,0,NULL,NULL,'53319c63-1a3f-4401-bd13-c1a0c9584667',NULL,'DBOS_JSON',NULL,0,0,NULL,NULL,NULL,NULL,0,'kmend');
INSERT INTO operation_outputs VALUES('20261123-040332.723-c1037370',0,'diagnose','e30=',NULL,NULL,1795406612727,1795406612740,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040332.723-c1037370',1,'claim','e30=',NULL,NULL,1795406612742,1795406612744,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040332.723-c1037370',2,'plan','e30=',NULL,NULL,1795406612746,1795406612750,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040332.723-c1037370',3,'guard','e30=',NULL,NULL,1795406612758,1795406612761,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040332.723-c1037370',4,'approve','e30=',NULL,NULL,1795406612764,1795406612781,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040332.723-c1037370',5,'execute','e30=',NULL,NULL,1795406612783,1795406612798,'DBOS_JSON','kmend');
INSERT INTO application_versions VALUES('426ad852-5550-4cfc-93c4-d05ed13ba897','1',1795406612718,1795406612718,'kmend');
INSERT INTO sqlite_sequence VALUES('goose_db_version',6);
