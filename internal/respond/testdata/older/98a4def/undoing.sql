-- world: call apply 0
-- world: effect apply 0
-- world: call apply 1
-- world: effect apply 1
-- world: call undo 1
-- world: effect undo 1
INSERT INTO goose_db_version VALUES(1,0,1,'2026-11-23 04:03:11');
INSERT INTO goose_db_version VALUES(2,1,1,'2026-11-23 04:03:11');
INSERT INTO goose_db_version VALUES(3,2,1,'2026-11-23 04:03:11');
INSERT INTO incidents VALUES('20261123-040311.691-45675bba',replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'verifying','','','',1,1795406591691533444,NULL,'{"cgroup":"/a"}','[{"fingerprint":"f/a","status":"firing","labels":{"alertname":"CPUThrottlingHigh","cgroup":"/a"},"startsAt":"2026-11-21T12:00:00Z"}]','{"apiVersion":"kmend.dev/v1","kind":"Diagnosis","target":{"node":"node-1","cgroup":"/a"},"node":{"name":"node-1","kernel":"","cpus":0},"window":{"start":"2026-11-23T04:03:08.728902179Z","seconds":3},"verdict":"confirmed","findings":[{"cause":"cpu.throttled","verdict":"confirmed","share":0.43,"message":"CPU throttled 1299 of 3000 ms","evidence":["e1"]}],"evidence":[{"id":"e1","probe":"threads","metric":"throttled","value":1299,"unit":"ms","lost":0}],"ledger":{"threads":0,"wall_ms":0,"states":null},"probes":null,"cost":{"cpu_ms":0,"wall_ms":0}}','{"runbook":"raise-cpu-limit","cause":"cpu.throttled","target":{"node":"node-1","cgroup":"/a"},"steps":[{"name":"first","action":"double.act","with":{"factor":2}},{"name":"second","action":"double.act"}],"verify":{"settle":"1ms","window":"1ms","improve":0.5},"undo":"automatic","evidence":["e1"],"created":"2026-11-23T04:03:11.740263458Z"}','[{"effect":"require_approval","policy":"test","rule":"ask","reason":"production","dryRun":false}]','{"cause":"cpu.throttled","before":0.43,"after":0.44,"better":false,"reason":"throttled 43% before, 44% after","diagnosis":{"apiVersion":"kmend.dev/v1","kind":"Diagnosis","target":{"node":"node-1","cgroup":"/a"},"node":{"name":"node-1","kernel":"","cpus":0},"window":{"start":"2026-11-23T04:03:08.835015247Z","seconds":3},"verdict":"confirmed","findings":[{"cause":"cpu.throttled","verdict":"confirmed","share":0.43,"message":"CPU throttled 1299 of 3000 ms","evidence":["e1"]}],"evidence":[{"id":"e1","probe":"threads","metric":"throttled","value":1299,"unit":"ms","lost":0}],"ledger":{"threads":0,"wall_ms":0,"states":null},"probes":null,"cost":{"cpu_ms":0,"wall_ms":0}}}',1795407491761874782);
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',1,'received',1795406591691533444,'received','received','firing: "CPUThrottlingHigh" about cgroup /a','{"source":"alertmanager/kmend"}');
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',2,'diagnosing',1795406591727397909,'diagnosing','measuring','measuring cgroup /a for 1ms',NULL);
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',3,'diagnosed',1795406591728966949,'diagnosing','confirmed','CPU throttled 1299 of 3000 ms','{"node":"node-1"}');
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',4,'planned',1795406591740567326,'planned','planned','runbook raise-cpu-limit: double.act; double.act','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',5,'decided',1795406591750491170,'planned','decided','require_approval by policy test/ask: production','{"policy":"test","rule":"ask"}');
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',6,'awaiting_approval',1795406591761954440,'awaiting_approval','awaiting_approval','waiting for an approval until 2026-11-23T04:18:11Z','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',7,'answer',1795406591768358672,'awaiting_approval','approved','approved by ada','{"by":"ada","plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',8,'intent/0',1795406591774961284,'executing','intent','step 1 of 2: double.act',NULL);
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',9,'applied/0',1795406591792662745,'executing','applied','step 1 of 2: applied:  -> ',NULL);
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',10,'intent/1',1795406591806808405,'executing','intent','step 2 of 2: double.act',NULL);
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',11,'applied/1',1795406591808564595,'executing','applied','step 2 of 2: applied:  -> ',NULL);
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',12,'verifying',1795406591826438238,'verifying','verifying','measuring cgroup /a again for 1ms',NULL);
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',13,'verified',1795406591835021038,'verifying','verified','not better: throttled 43% before, 44% after',NULL);
INSERT INTO timeline VALUES('20261123-040311.691-45675bba',14,'undo_intent/1',1795406591873468146,'verifying','undo_intent','undoing step 2 of 2',NULL);
INSERT INTO firings VALUES(replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'f/a',1795262400000000000,'20261123-040311.691-45675bba');
INSERT INTO approvals VALUES('20261123-040311.691-45675bba','474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8',1,'ada',1795406591768358672);
INSERT INTO executions VALUES(1,'20261123-040311.691-45675bba',0,'apply','{"step":0,"action":"double.act","before":"","after":"","result":"applied","state":{"was":"0.3"},"started":"2026-11-23T04:03:11.79117164Z","ended":"2026-11-23T04:03:11.792655141Z"}');
INSERT INTO executions VALUES(2,'20261123-040311.691-45675bba',1,'apply','{"step":1,"action":"double.act","before":"","after":"","result":"applied","state":{"was":"0.3"},"started":"2026-11-23T04:03:11.807632604Z","ended":"2026-11-23T04:03:11.808559686Z"}');
INSERT INTO claims VALUES('cgroup||node-1|/a','20261123-040311.691-45675bba');
INSERT INTO claims VALUES('cgroup|||/a','20261123-040311.691-45675bba');
INSERT INTO heartbeat VALUES(1,1795406591900265185);
INSERT INTO dbos_migrations VALUES(107);
INSERT INTO workflow_status VALUES('20261123-040311.691-45675bba','PENDING','respond','','',X'6e756c6c',NULL,NULL,NULL,'kmend',1795406591701,1795406591701,'1','',NULL,NULL,1,NULL,NULL,NULL,'IjIwMjYxMTIzLTA0MDMxMS42OTEtNDU2NzViYmEi',NULL,NULL,0,NULL,NULL,'2eee6fc6-d0b6-4007-8fe3-2c89e3538a3c',NULL,'DBOS_JSON',NULL,0,0,NULL,NULL,NULL,NULL,0,'kmend');
INSERT INTO operation_outputs VALUES('20261123-040311.691-45675bba',0,'diagnose','e30=',NULL,NULL,1795406591725,1795406591731,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040311.691-45675bba',1,'claim','e30=',NULL,NULL,1795406591732,1795406591736,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040311.691-45675bba',2,'plan','e30=',NULL,NULL,1795406591738,1795406591742,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040311.691-45675bba',3,'guard','e30=',NULL,NULL,1795406591747,1795406591754,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040311.691-45675bba',4,'approve','e30=',NULL,NULL,1795406591760,1795406591770,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040311.691-45675bba',5,'execute','e30=',NULL,NULL,1795406591770,1795406591823,'DBOS_JSON','kmend');
INSERT INTO application_versions VALUES('abcbb560-2d22-446d-9501-071caa7d315c','1',1795406591686,1795406591686,'kmend');
INSERT INTO sqlite_sequence VALUES('goose_db_version',3);
