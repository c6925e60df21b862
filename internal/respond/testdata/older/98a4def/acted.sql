-- world: call apply 0
-- world: effect apply 0
INSERT INTO goose_db_version VALUES(1,0,1,'2026-11-23 04:03:09');
INSERT INTO goose_db_version VALUES(2,1,1,'2026-11-23 04:03:09');
INSERT INTO goose_db_version VALUES(3,2,1,'2026-11-23 04:03:09');
INSERT INTO incidents VALUES('20261123-040309.530-a119d827',replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'executing','','','',1,1795406589530413864,NULL,'{"cgroup":"/a"}','[{"fingerprint":"f/a","status":"firing","labels":{"alertname":"CPUThrottlingHigh","cgroup":"/a"},"startsAt":"2026-11-21T12:00:00Z"}]','{"apiVersion":"kmend.dev/v1","kind":"Diagnosis","target":{"node":"node-1","cgroup":"/a"},"node":{"name":"node-1","kernel":"","cpus":0},"window":{"start":"2026-11-23T04:03:06.566072434Z","seconds":3},"verdict":"confirmed","findings":[{"cause":"cpu.throttled","verdict":"confirmed","share":0.43,"message":"CPU throttled 1299 of 3000 ms","evidence":["e1"]}],"evidence":[{"id":"e1","probe":"threads","metric":"throttled","value":1299,"unit":"ms","lost":0}],"ledger":{"threads":0,"wall_ms":0,"states":null},"probes":null,"cost":{"cpu_ms":0,"wall_ms":0}}','{"runbook":"raise-cpu-limit","cause":"cpu.throttled","target":{"node":"node-1","cgroup":"/a"},"steps":[{"name":"first","action":"double.act","with":{"factor":2}},{"name":"second","action":"double.act"}],"verify":{"settle":"1ms","window":"1ms","improve":0.5},"undo":"automatic","evidence":["e1"],"created":"2026-11-23T04:03:09.688651326Z"}','[{"effect":"require_approval","policy":"test","rule":"ask","reason":"production","dryRun":false}]',NULL,1795407489920438405);
INSERT INTO timeline VALUES('20261123-040309.530-a119d827',1,'received',1795406589530413864,'received','received','firing: "CPUThrottlingHigh" about cgroup /a','{"source":"alertmanager/kmend"}');
INSERT INTO timeline VALUES('20261123-040309.530-a119d827',2,'diagnosing',1795406589563425620,'diagnosing','measuring','measuring cgroup /a for 1ms',NULL);
INSERT INTO timeline VALUES('20261123-040309.530-a119d827',3,'diagnosed',1795406589566081821,'diagnosing','confirmed','CPU throttled 1299 of 3000 ms','{"node":"node-1"}');
INSERT INTO timeline VALUES('20261123-040309.530-a119d827',4,'planned',1795406589688778363,'planned','planned','runbook raise-cpu-limit: double.act; double.act','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040309.530-a119d827',5,'decided',1795406589734408685,'planned','decided','require_approval by policy test/ask: production','{"policy":"test","rule":"ask"}');
INSERT INTO timeline VALUES('20261123-040309.530-a119d827',6,'awaiting_approval',1795406589920472238,'awaiting_approval','awaiting_approval','waiting for an approval until 2026-11-23T04:18:09Z','{"plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040309.530-a119d827',7,'answer',1795406589951833434,'awaiting_approval','approved','approved by ada','{"by":"ada","plan":"474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8"}');
INSERT INTO timeline VALUES('20261123-040309.530-a119d827',8,'intent/0',1795406589996912138,'executing','intent','step 1 of 2: double.act',NULL);
INSERT INTO firings VALUES(replace('{}:{alertname="CPUThrottlingHigh"}\ncgroup|||/a','\n',char(10)),'f/a',1795262400000000000,'20261123-040309.530-a119d827');
INSERT INTO approvals VALUES('20261123-040309.530-a119d827','474386524263f478eed4958aa4ed3fda7954a3ef41f76e1c79d686603b9624d8',1,'ada',1795406589951833434);
INSERT INTO claims VALUES('cgroup||node-1|/a','20261123-040309.530-a119d827');
INSERT INTO claims VALUES('cgroup|||/a','20261123-040309.530-a119d827');
INSERT INTO heartbeat VALUES(1,1795406590010171653);
INSERT INTO dbos_migrations VALUES(107);
INSERT INTO workflow_status VALUES('20261123-040309.530-a119d827','PENDING','respond','','',X'6e756c6c',NULL,NULL,NULL,'kmend',1795406589532,1795406589534,'1','',NULL,NULL,1,NULL,NULL,NULL,'IjIwMjYxMTIzLTA0MDMwOS41MzAtYTExOWQ4Mjci',NULL,NULL,0,NULL,NULL,'948da248-c18e-4687-8b28-7231e9159ccc',NULL,'DBOS_JSON',NULL,0,0,NULL,NULL,NULL,NULL,0,'kmend');
INSERT INTO operation_outputs VALUES('20261123-040309.530-a119d827',0,'diagnose','e30=',NULL,NULL,1795406589552,1795406589569,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040309.530-a119d827',1,'claim','e30=',NULL,NULL,1795406589642,1795406589655,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040309.530-a119d827',2,'plan','e30=',NULL,NULL,1795406589688,1795406589710,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040309.530-a119d827',3,'guard','e30=',NULL,NULL,1795406589715,1795406589895,'DBOS_JSON','kmend');
INSERT INTO operation_outputs VALUES('20261123-040309.530-a119d827',4,'approve','e30=',NULL,NULL,1795406589919,1795406589979,'DBOS_JSON','kmend');
INSERT INTO application_versions VALUES('44bb857a-9178-4a5e-81da-f6c584de2a6f','1',1795406589526,1795406589526,'kmend');
INSERT INTO sqlite_sequence VALUES('goose_db_version',3);
